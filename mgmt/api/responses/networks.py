"""Guest networks and public addresses on the wire."""

from collections.abc import Sequence
from typing import Any

from mgmt.api.call import Call
from mgmt.api.registry import Entity, Response
from mgmt.api.responses.lookup import Owners, TagResponse, plain_tags_of, rows_by_id, wire_time
from mgmt.store.tables import Network, NetworkOffering, PublicAddress, VlanRange, Vm, Zone


class ProviderName(Response, kw_only=True):
    """A provider of a service."""

    name: str


class NetworkService(Response, kw_only=True):
    """A service of a network."""

    name: str
    provider: list[ProviderName]


class NetworkResponse(Response, kw_only=True):
    """A guest network."""

    id: str
    name: str
    displaytext: str
    account: str | None = None
    project: str | None = None
    projectid: str | None = None
    domainid: str | None = None
    domain: str | None = None
    domainpath: str | None = None
    zoneid: str
    zonename: str | None = None
    created: str | None = None
    state: str
    type: str
    acltype: str
    traffictype: str
    cidr: str
    gateway: str
    netmask: str
    networkdomain: str
    dns1: str | None = None
    dns2: str | None = None
    networkofferingid: str
    networkofferingname: str | None = None
    networkofferingdisplaytext: str | None = None
    egressdefaultpolicy: bool | None = None
    broadcastdomaintype: str
    broadcasturi: str | None = None
    vlan: str | None = None
    related: str
    service: list[NetworkService]
    canusefordeploy: bool
    isdefault: bool
    ispersistent: bool
    issystem: bool
    restartrequired: bool
    specifyipranges: bool
    specifyvlan: bool
    redundantrouter: bool
    subdomainaccess: bool
    strechedl2subnet: bool
    displaynetwork: bool
    tags: list[TagResponse]


class PublicAddressResponse(Response, kw_only=True):
    """A public address and what it is used for."""

    id: str
    ipaddress: str
    account: str | None = None
    project: str | None = None
    projectid: str | None = None
    domainid: str | None = None
    domain: str | None = None
    domainpath: str | None = None
    zoneid: str
    zonename: str | None = None
    allocated: str | None = None
    state: str
    issourcenat: bool
    isstaticnat: bool
    issystem: bool
    isportable: bool
    fordisplay: bool
    forvirtualnetwork: bool
    associatednetworkid: str | None = None
    associatednetworkname: str | None = None
    networkid: str | None = None
    vlanid: str
    vlanname: str | None = None
    virtualmachineid: str | None = None
    virtualmachinename: str | None = None
    virtualmachinedisplayname: str | None = None
    vmipaddress: str | None = None
    tags: list[TagResponse]


def services(offering: NetworkOffering | None) -> list[NetworkService]:
    """The services of an offering, as networks and offerings show them."""
    found = offering.services if offering else {}
    return [
        NetworkService(name=name, provider=[ProviderName(name=provider)])
        for name, provider in sorted(found.items())
    ]


def build_networks(call: Call, rows: Sequence[Network]) -> list[NetworkResponse]:
    """Answers for networks; a fixed number of statements."""
    owners = Owners(call, rows)
    zones = rows_by_id(call, Zone, (row.zone_id for row in rows))
    offerings = rows_by_id(call, NetworkOffering, (row.offering_id for row in rows))
    tags = plain_tags_of(call, "Network", rows)
    return [
        NetworkResponse(
            id=row.id,
            name=row.name,
            displaytext=row.display_text,
            zoneid=row.zone_id,
            created=wire_time(row.created),
            state=row.state,
            type="Isolated",
            acltype="Account",
            traffictype="Guest",
            cidr=row.cidr,
            gateway=row.gateway,
            netmask=row.netmask,
            networkdomain=row.network_domain,
            networkofferingid=row.offering_id,
            broadcastdomaintype="Vxlan",
            related=row.id,
            canusefordeploy=True,
            isdefault=False,
            ispersistent=False,
            issystem=False,
            restartrequired=False,
            specifyipranges=False,
            specifyvlan=False,
            redundantrouter=False,
            subdomainaccess=False,
            strechedl2subnet=False,
            displaynetwork=True,
            tags=tags.get(row.id, []),
            **owners.names(row),
            **_zone(zones.get(row.zone_id)),
            **_offering(offerings.get(row.offering_id)),
            **_segment(call, row),
        )
        for row in rows
    ]


def _zone(zone: Zone | None) -> dict[str, Any]:
    return {"zonename": zone.name, "dns1": zone.dns1, "dns2": zone.dns2} if zone else {}


def _offering(offering: NetworkOffering | None) -> dict[str, Any]:
    shown: dict[str, Any] = {"service": services(offering)}
    if offering is not None:
        shown |= {
            "networkofferingname": offering.name,
            "networkofferingdisplaytext": offering.display_text,
            "egressdefaultpolicy": offering.egress_default,
        }
    return shown


def _segment(call: Call, row: Network) -> dict[str, Any]:
    """The segment's number is the operators' matter."""
    if row.vni is None or not call.caller.is_root:
        return {}
    return {"broadcasturi": f"vxlan://{row.vni}", "vlan": str(row.vni)}


def build_addresses(call: Call, rows: Sequence[PublicAddress]) -> list[PublicAddressResponse]:
    """Answers for public addresses; a fixed number of statements."""
    owners = Owners(call, rows)
    zones = rows_by_id(call, Zone, (row.zone_id for row in rows))
    networks = rows_by_id(call, Network, (row.network_id for row in rows))
    ranges = rows_by_id(call, VlanRange, (row.range_id for row in rows))
    vms = rows_by_id(call, Vm, (row.vm_id for row in rows if row.is_static_nat))
    tags = plain_tags_of(call, "PublicIpAddress", rows)
    return [
        PublicAddressResponse(
            id=row.id,
            ipaddress=row.address,
            zoneid=row.zone_id,
            zonename=zones[row.zone_id].name if row.zone_id in zones else None,
            allocated=wire_time(row.allocated) if row.account_id else None,
            state=row.state,
            issourcenat=row.is_source_nat,
            isstaticnat=row.is_static_nat,
            issystem=row.is_system,
            isportable=False,
            fordisplay=True,
            forvirtualnetwork=True,
            vlanid=row.range_id,
            vlanname=ranges[row.range_id].vlan if row.range_id in ranges else None,
            tags=tags.get(row.id, []),
            **(owners.names(row) if row.account_id else {}),
            **_network(networks.get(row.network_id or "")),
            **_guest(row, vms.get(row.vm_id or "")),
        )
        for row in rows
    ]


def _network(network: Network | None) -> dict[str, Any]:
    if network is None:
        return {}
    return {"associatednetworkid": network.id, "associatednetworkname": network.name, "networkid": network.id}


def _guest(row: PublicAddress, vm: Vm | None) -> dict[str, Any]:
    if vm is None:
        return {}
    return {
        "virtualmachineid": vm.id,
        "virtualmachinename": vm.name,
        "virtualmachinedisplayname": vm.display_name or vm.name,
        "vmipaddress": row.vm_address,
    }


NETWORK = Entity(Network, NetworkResponse, "network", build_networks)
PUBLIC_ADDRESS = Entity(PublicAddress, PublicAddressResponse, "publicipaddress", build_addresses)
