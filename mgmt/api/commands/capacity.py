"""How much of everything there is, and how much is taken."""

from collections.abc import Sequence
from typing import Annotated

from mgmt.api.access import ROOT, Ref
from mgmt.api.call import Call
from mgmt.api.lists import PlainListCommand
from mgmt.api.params import NoEffect, wrong_value
from mgmt.api.registry import Response, Spec
from mgmt.api.responses.alerts import CapacityResponse, capacity_responses
from mgmt.model.notices import CapacityType
from mgmt.ops.infrastructure.capacity import Capacity, Key, sum_up, summed_capacities
from mgmt.store.tables import Cluster, Pod, Zone

USAGE = "usage"


class ListCapacity(PlainListCommand, kw_only=True, frozen=True):
    """Lists capacities: of zones, or of the pods or clusters that are named."""

    spec = Spec(answer=CapacityResponse, key="capacity", access=ROOT)

    zoneid: Annotated[str | None, Ref(Zone)] = None
    podid: Annotated[str | None, Ref(Pod)] = None
    clusterid: Annotated[str | None, Ref(Cluster)] = None
    type: Annotated[int | None, "list only this kind: 0 memory, 1 CPU, 2 storage, 4 public addresses …"] = (
        None
    )
    sortby: Annotated[str | None, "usage: the fullest first"] = None
    fetchlatest: Annotated[bool, NoEffect("what is listed is always the latest")] = False

    def items(self, call: Call) -> Sequence[Response]:
        """Add up what is at the places asked for."""
        if self.sortby not in (None, USAGE):
            raise wrong_value("sortby", self.sortby, USAGE)
        if self.type is not None and self.type not in set(CapacityType):
            numbers = ", ".join(str(int(kind)) for kind in CapacityType)
            raise wrong_value("type", self.type, f"one of {numbers}")
        found = [item for item in summed_capacities(call.session) if self._matches(item)]
        summed = sum_up(found, self._key)
        if self.sortby:
            summed.sort(key=lambda item: -item.share)
        else:
            summed.sort(key=lambda item: (item.zone_id, item.type))
        return capacity_responses(call, summed)

    def _matches(self, item: Capacity) -> bool:
        return (
            self.zoneid in (None, item.zone_id)
            and self.podid in (None, item.pod_id)
            and self.clusterid in (None, item.cluster_id)
            and self.type in (None, item.type)
        )

    def _key(self, item: Capacity) -> Key:
        by_pod = item.pod_id if self.podid or self.clusterid else None
        return item.type, item.zone_id, by_pod, item.cluster_id if self.clusterid else None
