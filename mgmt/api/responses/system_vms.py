"""System VMs and routers on the wire. Public and link-local addresses are from their NICs."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from mgmt.api.call import Call
from mgmt.api.registry import Entity, Response
from mgmt.api.responses.lookup import Owners, rows_by_id, wire_time
from mgmt.api.responses.nics import NicResponse, build_nics
from mgmt.model.states import SYSTEM_VM_TYPES, VmKind, VmState
from mgmt.store.tables import Host, Network, Nic, PublicAddress, ServiceOffering, VlanRange, Vm, Zone

LINKLOCAL_NETMASK = "255.255.0.0"


class SystemVmResponse(Response, kw_only=True):
    """A console proxy or storage VM; `agentstate` is `Up` while its agent answers healthy."""

    id: str
    name: str
    systemvmtype: str
    state: str
    agentstate: str
    statereason: str | None = None
    created: str | None = None
    zoneid: str
    zonename: str | None = None
    hostid: str | None = None
    hostname: str | None = None
    hypervisor: str
    dns1: str | None = None
    dns2: str | None = None
    gateway: str | None = None
    linklocalip: str | None = None
    linklocalmacaddress: str | None = None
    linklocalnetmask: str | None = None
    privateip: str | None = None
    privatemacaddress: str | None = None
    privatenetmask: str | None = None
    publicip: str | None = None
    publicmacaddress: str | None = None
    publicnetmask: str | None = None
    serviceofferingid: str
    serviceofferingname: str | None = None
    activeviewersessions: int
    isdynamicallyscalable: bool


class RouterResponse(Response, kw_only=True):
    """A network's router."""

    id: str
    name: str
    state: str
    statereason: str | None = None
    role: str
    account: str | None = None
    project: str | None = None
    projectid: str | None = None
    domainid: str | None = None
    domain: str | None = None
    domainpath: str | None = None
    created: str | None = None
    zoneid: str
    zonename: str | None = None
    hostid: str | None = None
    hostname: str | None = None
    hypervisor: str
    dns1: str | None = None
    dns2: str | None = None
    gateway: str | None = None
    networkdomain: str | None = None
    guestnetworkid: str | None = None
    guestnetworkname: str | None = None
    guestipaddress: str | None = None
    guestmacaddress: str | None = None
    guestnetmask: str | None = None
    linklocalip: str | None = None
    linklocalmacaddress: str | None = None
    linklocalnetmask: str | None = None
    publicip: str | None = None
    publicmacaddress: str | None = None
    publicnetmask: str | None = None
    serviceofferingid: str
    serviceofferingname: str | None = None
    redundantstate: str
    isredundantrouter: bool
    requiresupgrade: bool
    healthchecksfailed: bool
    version: str
    nic: list[NicResponse]


class _Around:
    """What both kinds show besides their own row; a fixed number of statements."""

    def __init__(self, call: Call, rows: Sequence[Vm]) -> None:
        self.zones = rows_by_id(call, Zone, (row.zone_id for row in rows))
        self.hosts = rows_by_id(call, Host, (row.host_id for row in rows))
        self.offerings = rows_by_id(call, ServiceOffering, (row.offering_id for row in rows))
        self.networks = rows_by_id(call, Network, (row.network_id for row in rows))
        query = select(Nic).where(Nic.vm_id.in_([row.id for row in rows]), Nic.removed.is_(None))
        self.nics: dict[str, list[Nic]] = defaultdict(list)
        for nic in call.session.scalars(query.order_by(Nic.position)):
            self.nics[nic.vm_id].append(nic)
        addresses = select(PublicAddress).where(
            PublicAddress.network_id.in_(self.networks),
            PublicAddress.is_source_nat,
            PublicAddress.removed.is_(None),
        )
        self.addresses = {str(item.network_id): item for item in call.session.scalars(addresses)}
        self.ranges = rows_by_id(call, VlanRange, (item.range_id for item in self.addresses.values()))

    def fields(self, row: Vm) -> dict[str, Any]:
        """The fields that both kinds have."""
        zone, host = self.zones.get(row.zone_id), self.hosts.get(row.host_id or "")
        offering = self.offerings.get(row.offering_id)
        public = self.nic(row, "public")
        linklocal = self.nic(row, "linklocal")
        return {
            "id": row.id,
            "name": row.name,
            "state": row.state,
            "statereason": row.reason or None,
            "created": wire_time(row.created),
            "zoneid": row.zone_id,
            "zonename": zone.name if zone else None,
            "dns1": zone.dns1 if zone else None,
            "dns2": zone.dns2 if zone else None,
            "hostid": host.id if host else None,
            "hostname": host.name if host else None,
            "hypervisor": "KVM",
            "serviceofferingid": row.offering_id,
            "serviceofferingname": offering.name if offering else None,
            "gateway": public.gateway if public else None,
            "linklocalip": row.linklocal_address,
            "linklocalmacaddress": linklocal.mac if linklocal else None,
            "linklocalnetmask": LINKLOCAL_NETMASK if row.linklocal_address else None,
            **_nic("public", public),
        }

    def source_nat(self, row: Vm) -> dict[str, Any]:
        """The address under which a router's guests go out: it is the network's, not the NIC's."""
        found = self.addresses.get(row.network_id or "")
        if found is None:
            return {}
        span = self.ranges[found.range_id]
        return {"publicip": found.address, "publicnetmask": span.netmask, "gateway": span.gateway}

    def nic(self, row: Vm, purpose: str) -> Nic | None:
        """The first NIC of a purpose."""
        return next((nic for nic in self.nics[row.id] if nic.purpose == purpose), None)


def build_system_vms(call: Call, rows: Sequence[Vm]) -> list[SystemVmResponse]:
    """Answers for console proxies and storage VMs."""
    around = _Around(call, rows)
    return [
        SystemVmResponse(
            systemvmtype=SYSTEM_VM_TYPES.get(VmKind(row.kind), "domainrouter"),
            agentstate="Up" if row.healthy and row.state == VmState.running else "Disconnected",
            activeviewersessions=0,
            isdynamicallyscalable=False,
            **_nic("private", around.nic(row, "management")),
            **around.fields(row),
        )
        for row in rows
    ]


def build_routers(call: Call, rows: Sequence[Vm]) -> list[RouterResponse]:
    """Answers for routers."""
    around, owners = _Around(call, rows), Owners(call, rows)
    nics: dict[str, list[NicResponse]] = defaultdict(list)
    for answer in build_nics(call, [nic for row in rows for nic in around.nics[row.id]]):
        nics[str(answer.virtualmachineid)].append(answer)
    answers = []
    for row in rows:
        network = around.networks.get(row.network_id or "")
        guest = around.nic(row, "guest")
        answers.append(
            RouterResponse(
                role="VIRTUAL_ROUTER",
                networkdomain=network.network_domain if network else None,
                guestnetworkid=network.id if network else None,
                guestnetworkname=network.name if network else None,
                guestipaddress=guest.address if guest else None,
                guestmacaddress=guest.mac if guest else None,
                guestnetmask=guest.netmask if guest else None,
                redundantstate="UNKNOWN",
                isredundantrouter=False,
                requiresupgrade=False,
                healthchecksfailed=row.state == VmState.running and not row.healthy,
                version="1",
                nic=nics[row.id],
                **owners.names(row),
                **{**around.fields(row), **around.source_nat(row)},
            )
        )
    return answers


def _nic(prefix: str, nic: Nic | None) -> dict[str, Any]:
    if nic is None:
        return {}
    return {f"{prefix}ip": nic.address, f"{prefix}macaddress": nic.mac, f"{prefix}netmask": nic.netmask}


SYSTEM_VM = Entity(Vm, SystemVmResponse, "systemvm", build_system_vms)
ROUTER = Entity(Vm, RouterResponse, "router", build_routers)
