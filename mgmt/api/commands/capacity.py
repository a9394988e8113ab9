"""How much of everything there is, and how much is taken."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from mgmt.api.access import ROOT, Ref
from mgmt.api.call import Call
from mgmt.api.lists import ListCommand, PlainListCommand
from mgmt.api.params import NoEffect, wrong_value
from mgmt.api.registry import Response, Spec
from mgmt.api.responses.alerts import CapacityResponse, capacity_responses
from mgmt.model.notices import CapacityType
from mgmt.ops.infrastructure.capacity import Capacity, Key, sum_up, summed_capacities
from mgmt.store.tables import Cluster, Pod, Zone

USAGE = "usage"
PLACES = ("zone_id", "pod_id", "cluster_id")
"""Where capacity is, the largest places first."""


class ListWithCapacities(ListCommand, kw_only=True, frozen=True):
    """A list of places, with the capacities of each for who asks; as many statements for many as for one.

    `place` is which of `PLACES` is listed.
    """

    place: ClassVar[str]

    showcapacities: Annotated[bool, "true: list the capacities of each; for root administrators only"] = False

    def fetch(self, call: Call) -> tuple[int, list[Response]]:
        """The page, and beside each what there is and what is taken."""
        total, found = super().fetch(call)
        if self.showcapacities and call.caller.is_root:
            self._show_capacities(call, found)
        return total, found

    def _show_capacities(self, call: Call, found: Sequence[Any]) -> None:
        ids = {answer.id for answer in found}
        there = [item for item in summed_capacities(call.session) if getattr(item, self.place) in ids]
        summed = sorted(sum_up(there, self._key), key=lambda item: item.type)
        of_place: defaultdict[str, list[CapacityResponse]] = defaultdict(list)
        for item, answer in zip(summed, capacity_responses(call, summed), strict=True):
            of_place[getattr(item, self.place)].append(answer)
        for answer in found:
            answer.capacity = of_place[answer.id]

    def _key(self, item: Capacity) -> Key:
        depth = PLACES.index(self.place)
        return (
            item.type,
            item.zone_id,
            item.pod_id if depth > 0 else None,
            item.cluster_id if depth > 1 else None,
        )


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
