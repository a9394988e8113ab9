"""Traffic types of physical networks: which bridge of the hosts carries what."""

from typing import Annotated

from sqlalchemy import select

from mgmt.api.access import ROOT, Ref
from mgmt.api.call import Call
from mgmt.api.lists import Equals, ListCommand
from mgmt.api.params import Unsupported, wrong_value
from mgmt.api.registry import AsyncCommand, Spec
from mgmt.api.responses.infra import TRAFFIC_TYPE
from mgmt.model.errors import ParameterError
from mgmt.store.tables import Job, PhysicalNetwork, TrafficType

KINDS = ("Public", "Guest", "Management", "Storage")


class ListTrafficTypes(ListCommand, kw_only=True, frozen=True):
    """Lists the traffic types of a physical network."""

    spec = Spec(answer=TRAFFIC_TYPE, access=ROOT)

    physicalnetworkid: Annotated[str, Ref(PhysicalNetwork), Equals(TrafficType.physical_network_id)]


class AddTrafficType(AsyncCommand, kw_only=True, frozen=True):
    """Adds a traffic type to a physical network."""

    spec = Spec(answer=TRAFFIC_TYPE, access=ROOT, event="TRAFFICTYPE.CREATE")
    creates = True

    physicalnetworkid: Annotated[str, Ref(PhysicalNetwork)]
    traffictype: Annotated[str, "Public, Guest, Management or Storage"]
    kvmnetworklabel: Annotated[str | None, "the bridge that carries it on KVM hosts"] = None
    vlan: Annotated[str | None, Unsupported("the bridge that kvmnetworklabel names says which VLAN")] = None
    isolationmethod: Annotated[str | None, Unsupported("the physical network says it")] = None

    def run(self, call: Call) -> Job:
        """Check and insert; the hosts need no change, so the job is done at once."""
        if self.traffictype not in KINDS:
            raise wrong_value("traffictype", self.traffictype, f"one of {', '.join(KINDS)}")
        taken = select(TrafficType.id).where(
            TrafficType.physical_network_id == self.physicalnetworkid,
            TrafficType.type == self.traffictype,
            TrafficType.removed.is_(None),
        )
        if call.session.scalar(taken):
            raise ParameterError(f"The physical network already has traffic type {self.traffictype}")
        row = TrafficType(
            physical_network_id=self.physicalnetworkid, type=self.traffictype, label=self.kvmnetworklabel
        )
        call.session.add(row)
        return call.finish(kind="TrafficType", about=row)


class UpdateTrafficType(AsyncCommand, kw_only=True, frozen=True):
    """Updates a traffic type of a physical network."""

    spec = Spec(answer=TRAFFIC_TYPE, access=ROOT, event="TRAFFICTYPE.UPDATE", wakes=True)

    id: Annotated[str, Ref(TrafficType)]
    kvmnetworklabel: Annotated[str | None, "the bridge that carries it on KVM hosts"] = None

    def run(self, call: Call) -> Job:
        """VMs that start from now on are plugged there."""
        row = call.row(TrafficType, self.id)
        row.label = self.kvmnetworklabel or row.label
        return call.finish(kind="TrafficType", about=row)


class DeleteTrafficType(AsyncCommand, kw_only=True, frozen=True):
    """Deletes a traffic type of a physical network."""

    spec = Spec(access=ROOT, event="TRAFFICTYPE.DELETE")

    id: Annotated[str, Ref(TrafficType)]

    def run(self, call: Call) -> Job:
        """Remove the row."""
        row = call.row(TrafficType, self.id)
        row.removed = call.now()
        return call.finish(kind="TrafficType", about=row)
