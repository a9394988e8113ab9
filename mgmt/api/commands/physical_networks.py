"""Physical networks."""

import re
from typing import Annotated, Any

from sqlalchemy import select

from mgmt.api.absent import NetworkSpeed, PhysicalTags
from mgmt.api.access import ROOT, Ref
from mgmt.api.call import Call
from mgmt.api.commands.zones import refuse_if_used
from mgmt.api.lists import Equals, ListCommand
from mgmt.api.params import NoEffect, Unsupported, wrong_value
from mgmt.api.registry import AsyncCommand, Spec
from mgmt.api.responses.infra import PHYSICAL_NETWORK
from mgmt.model.errors import ParameterError
from mgmt.model.network_services import PROVIDERS
from mgmt.store.tables import (
    Job,
    Network,
    PhysicalNetwork,
    ServiceProvider,
    TrafficType,
    VlanRange,
    Zone,
)

KIND = "PhysicalNetwork"
VXLAN = "VXLAN"
STATES = ("Enabled", "Disabled")
VNI_RANGE = re.compile(r"^(\d{1,8})-(\d{1,8})$")
MOST_VNI = 2**24 - 1
"""RFC 7348: a VXLAN network identifier has 24 bits."""


class ListPhysicalNetworks(ListCommand, kw_only=True, frozen=True):
    """Lists physical networks."""

    spec = Spec(answer=PHYSICAL_NETWORK, access=ROOT)
    searched = (PhysicalNetwork.name,)

    name: Annotated[str | None, Equals(PhysicalNetwork.name)] = None
    zoneid: Annotated[str | None, Ref(Zone), Equals(PhysicalNetwork.zone_id)] = None


class CreatePhysicalNetwork(AsyncCommand, kw_only=True, frozen=True):
    """Creates a physical network."""

    spec = Spec(answer=PHYSICAL_NETWORK, access=ROOT, event="PHYSICAL.NETWORK.CREATE")
    creates = True

    name: str
    zoneid: Annotated[str, Ref(Zone)]
    isolationmethods: Annotated[str | None, "how guest networks are kept apart: VXLAN"] = None
    vlan: Annotated[str | None, "the VXLAN ids guest networks take, as 10000-19999"] = None
    broadcastdomainrange: Annotated[str | None, NoEffect("networks reach all of their zone")] = None
    networkspeed: NetworkSpeed = None
    tags: PhysicalTags = None
    domainid: Annotated[str | None, Unsupported("physical networks are for all domains")] = None

    def run(self, call: Call) -> Job:
        """One per zone: check and insert."""
        if self.isolationmethods and self.isolationmethods.upper() != VXLAN:
            raise wrong_value("isolationmethods", self.isolationmethods, "VXLAN, the only method supported")
        zone = call.row(Zone, self.zoneid)
        taken = select(PhysicalNetwork.name).where(
            PhysicalNetwork.zone_id == zone.id, PhysicalNetwork.removed.is_(None)
        )
        existing = call.session.scalar(taken)
        if existing is not None:
            raise ParameterError(f"Zone {zone.name} already has physical network {existing}; a zone has one")
        row = PhysicalNetwork(zone_id=zone.id, name=self.name)
        if self.vlan:
            row.vni_first, row.vni_last = read_vnis(self.vlan)
        call.session.add(row)
        call.session.flush()
        call.session.add_all(ServiceProvider(physical_network_id=row.id, name=name) for name in PROVIDERS)
        return call.finish(kind=KIND, about=row)


class UpdatePhysicalNetwork(AsyncCommand, kw_only=True, frozen=True):
    """Updates a physical network."""

    spec = Spec(answer=PHYSICAL_NETWORK, access=ROOT, event="PHYSICAL.NETWORK.UPDATE")

    id: Annotated[str, Ref(PhysicalNetwork)]
    state: Annotated[str | None, "Enabled or Disabled"] = None
    vlan: Annotated[str | None, "the VXLAN ids guest networks take, as 10000-19999"] = None
    networkspeed: NetworkSpeed = None
    tags: PhysicalTags = None

    def run(self, call: Call) -> Job:
        """Check and change what was sent; ids in use must stay inside the range."""
        row = call.row(PhysicalNetwork, self.id)
        if self.state:
            if self.state.capitalize() not in STATES:
                raise wrong_value("state", self.state, "Enabled or Disabled")
            row.state = self.state.capitalize()
        if self.vlan:
            first, last = read_vnis(self.vlan)
            outside = select(Network.vni).where(
                Network.zone_id == row.zone_id, Network.vni.is_not(None), ~Network.vni.between(first, last)
            )
            used = call.session.scalar(outside.limit(1))
            if used is not None:
                raise ParameterError(
                    f"VXLAN id {used} is in use and not in {self.vlan}; choose a range with it"
                )
            row.vni_first, row.vni_last = first, last
        return call.finish(kind=KIND, about=row)


class DeletePhysicalNetwork(AsyncCommand, kw_only=True, frozen=True):
    """Deletes a physical network that has no networks and no address ranges."""

    spec = Spec(access=ROOT, event="PHYSICAL.NETWORK.DELETE")

    id: Annotated[str, Ref(PhysicalNetwork)]

    def run(self, call: Call) -> Job:
        """Refuse while it is used; its traffic types and providers go with it."""
        row = call.row(PhysicalNetwork, self.id)
        item = f"Physical network {row.name}"
        refuse_if_used(call.session, Network, Network.zone_id == row.zone_id, item, "networks")
        refuse_if_used(
            call.session, VlanRange, VlanRange.physical_network_id == row.id, item, "address ranges"
        )
        parts_of: tuple[type[Any], ...] = (TrafficType, ServiceProvider)
        for table in parts_of:
            parts = select(table).where(table.physical_network_id == row.id, table.removed.is_(None))
            for part in call.session.scalars(parts):
                part.removed = call.now()
        row.removed = call.now()
        return call.finish(kind=KIND, about=row)


def read_vnis(text: str) -> tuple[int, int]:
    """The first and last VXLAN id of `first-last`. Raises `ParameterError`."""
    found = VNI_RANGE.match(text)
    first, last = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= first <= last <= MOST_VNI:
        raise wrong_value("vlan", text, f"a range of VXLAN ids as 10000-19999, in 1-{MOST_VNI}")
    return first, last
