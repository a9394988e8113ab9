"""Guest networks."""

from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any

from sqlalchemy import Select, false, select

from mgmt.alloc.limits import reserve
from mgmt.api.absent import CustomId, Ip6, OfVpc, Shown, must_stay
from mgmt.api.access import EVERYONE, Ref
from mgmt.api.addresses import network_of, read_address
from mgmt.api.call import Call
from mgmt.api.dns_names import read_network_domain
from mgmt.api.lists import AllAre, CountAnyway, Equals, OwnedListCommand, ShownToUsers
from mgmt.api.ownership import OwnerAccount, OwnerDomain, OwnerProject
from mgmt.api.params import NoEffect, Unsupported, wrong_value
from mgmt.api.registry import AsyncCommand, Spec, SyncCommand
from mgmt.api.responses.networks import NETWORK
from mgmt.model.errors import InUse, ParameterError
from mgmt.model.resources import ResourceType
from mgmt.model.states import NetworkState, VmKind, VmState
from mgmt.ops import names
from mgmt.store.tables import (
    Job,
    Network,
    NetworkOffering,
    Nic,
    PhysicalNetwork,
    ServiceProvider,
    Vm,
    Zone,
)

#: Smallest guest network: a router and a few guests.
LONGEST_PREFIX = 29


#: Whether networks of accounts, the only ones, are meant.
FILTERS = {"all": True, "account": True, "accountdomain": True, "domain": False, "shared": False}


class ListNetworks(OwnedListCommand, kw_only=True, frozen=True):
    """Lists guest networks."""

    spec = Spec(answer=NETWORK, access=EVERYONE)
    searched = (Network.name, Network.display_text)
    tag_type = "Network"

    zoneid: Annotated[str | None, Ref(Zone, use=True), Equals(Network.zone_id)] = None
    state: Annotated[str | None, Equals(Network.state)] = None
    type: Annotated[
        str | None, "the kind of network: Isolated; all networks here are", AllAre("Isolated")
    ] = None
    traffictype: Annotated[str | None, "the kind of traffic: Guest", AllAre("Guest")] = None
    issystem: Annotated[bool, "true for networks of the system; there are none", AllAre(False)] = False
    forvpc: Annotated[bool | None, "true for tiers of VPCs; there are none", AllAre(False)] = None
    vpcid: Annotated[str | None, "list only tiers of this VPC; there are none", AllAre(None)] = None
    canusefordeploy: Annotated[bool | None, "true for networks VMs can be deployed in: all", AllAre(True)] = (
        None
    )
    networkofferingid: Annotated[str | None, Ref(NetworkOffering, use=True), Equals(Network.offering_id)] = (
        None
    )
    physicalnetworkid: Annotated[str | None, Ref(PhysicalNetwork), "list only networks on this one"] = None
    supportedservices: Annotated[list[str] | None, "list only those with all these services"] = None
    acltype: Annotated[str | None, "who may use it: Account, in all networks here", AllAre("Account")] = None
    restartrequired: Annotated[
        bool, "true for networks that wait for a restart; none has to", AllAre(False)
    ] = False
    specifyipranges: Annotated[
        bool, "true for networks with ranges of their own; there are none", AllAre(False)
    ] = False
    displaynetwork: ShownToUsers = None
    associatednetworkid: Annotated[
        str | None, Ref(Network), "of shared networks beside this one: there are none", AllAre(None)
    ] = None
    networkfilter: Annotated[str | None, f"whose: {', '.join(FILTERS)}"] = None
    retrieveonlyresourcecount: CountAnyway = False

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """By filters that are more than a column; every network is an account's."""
        if self.networkfilter is not None:
            wanted = self.networkfilter.lower()
            if wanted not in FILTERS:
                raise wrong_value("networkfilter", self.networkfilter, ", ".join(FILTERS))
            query = query if FILTERS[wanted] else query.where(false())
        if self.physicalnetworkid is not None:
            query = query.where(Network.zone_id == call.row(PhysicalNetwork, self.physicalnetworkid).zone_id)
        if self.supportedservices:
            offerings = select(NetworkOffering.id)
            for service in self.supportedservices:
                offerings = offerings.where(NetworkOffering.services[service].as_string().is_not(None))
            query = query.where(Network.offering_id.in_(offerings))
        return query


class CreateNetwork(SyncCommand, kw_only=True, frozen=True):
    """Creates an isolated guest network; its router starts with the first VM."""

    spec = Spec(answer=NETWORK, access=EVERYONE, event="NETWORK.CREATE")

    name: str
    displaytext: str | None = None
    zoneid: Annotated[str, Ref(Zone, use=True)]
    networkofferingid: Annotated[str, Ref(NetworkOffering, use=True)]
    gateway: Annotated[str | None, "the router's address in the network"] = None
    netmask: Annotated[str | None, "the netmask; together with gateway"] = None
    networkdomain: Annotated[str | None, "the DNS domain of its guests"] = None
    account: OwnerAccount = None
    domainid: OwnerDomain = None
    projectid: OwnerProject = None
    acltype: Annotated[str | None, "who may use it: account, the only kind"] = None
    aclid: OfVpc = None
    vpcid: OfVpc = None
    startip: Annotated[str | None, Unsupported("guests have the addresses of the whole network")] = None
    endip: Annotated[str | None, Unsupported("guests have the addresses of the whole network")] = None
    vlan: Annotated[str | None, Unsupported("networks take their VXLAN ids from the physical network")] = None
    isolatedpvlan: Annotated[str | None, Unsupported("networks are isolated by VXLAN")] = None
    startipv6: Ip6 = None
    endipv6: Ip6 = None
    ip6cidr: Ip6 = None
    ip6gateway: Ip6 = None
    subdomainaccess: Annotated[bool, Unsupported("networks are of accounts")] = False
    physicalnetworkid: Annotated[str | None, NoEffect("a zone has one for guests")] = None
    displaynetwork: Shown = None

    def run(self, call: Call) -> Network:
        """Check and insert."""
        must_stay("acltype", self.acltype, "account")
        zone, offering = call.row(Zone, self.zoneid), call.row(NetworkOffering, self.networkofferingid)
        if offering.guest_type != "Isolated" or offering.traffic_type != "Guest":
            raise wrong_value("networkofferingid", offering.name, "an offering for isolated guest networks")
        if offering.state != "Enabled":
            raise ParameterError(
                f"Network offering {offering.name} is {offering.state}; choose an enabled one"
            )
        if not call.session.scalar(select(PhysicalNetwork.id).where(PhysicalNetwork.zone_id == zone.id)):
            raise ParameterError(f"Zone {zone.name} has no physical network yet; create one first")
        _check_providers(call, zone)
        network, gateway = _addresses(self.gateway, self.netmask, zone)
        reserve(call.session, call.owner.account, ResourceType.network)
        row = Network(
            account_id=call.owner.account.id,
            domain_id=call.owner.domain.id,
            zone_id=zone.id,
            offering_id=offering.id,
            name=self.name,
            display_text=self.displaytext or self.name,
            cidr=str(network),
            gateway=str(gateway),
            netmask=str(network.netmask),
            network_domain=_domain(self.networkdomain, zone, call),
        )
        call.session.add(row)
        return row


def _check_providers(call: Call, zone: Zone) -> None:
    query = (
        select(ServiceProvider.name)
        .join(PhysicalNetwork, PhysicalNetwork.id == ServiceProvider.physical_network_id)
        .where(PhysicalNetwork.zone_id == zone.id, ServiceProvider.removed.is_(None))
        .where(ServiceProvider.state == "Disabled")
    )
    name = call.session.scalar(query)
    if name is not None:
        raise ParameterError(
            f"Provider {name} is disabled in zone {zone.name}; updateNetworkServiceProvider enables it"
        )


class UpdateNetwork(AsyncCommand, kw_only=True, frozen=True):
    """Updates a network's name, text and DNS domain."""

    spec = Spec(answer=NETWORK, access=EVERYONE, event="NETWORK.UPDATE")

    id: Annotated[str, Ref(Network)]
    name: str | None = None
    displaytext: str | None = None
    networkdomain: Annotated[str | None, "the DNS domain of its guests"] = None
    networkofferingid: Annotated[str | None, Ref(NetworkOffering, use=True), "its offering, which stays"] = (
        None
    )
    guestvmcidr: Annotated[str | None, "its addresses, which stay"] = None
    customid: CustomId = None
    changecidr: Annotated[bool, Unsupported("a network keeps its CIDR")] = False
    displaynetwork: Shown = None

    def run(self, call: Call) -> Job:
        """Change what was sent; of these the router knows the domain only."""
        row = call.row(Network, self.id)
        if self.networkofferingid not in (None, row.offering_id):
            raise wrong_value(
                "networkofferingid", self.networkofferingid, "the network's own: make another one"
            )
        if self.guestvmcidr not in (None, row.cidr):
            raise wrong_value("guestvmcidr", self.guestvmcidr, f"the network's own, {row.cidr}")
        row.name = self.name or row.name
        row.display_text = self.displaytext or row.display_text
        domain = read_network_domain(self.networkdomain)
        if domain in (None, row.network_domain):
            return call.finish(kind="Network", about=row)
        row.network_domain = str(domain)
        if row.state != NetworkState.implemented:
            return call.finish(kind="Network", about=row)
        return call.submit(names.RESTART_NETWORK, {"network_id": row.id}, kind="Network", about=row)


class DeleteNetwork(AsyncCommand, kw_only=True, frozen=True):
    """Deletes a network without VMs: its router, addresses and rules go with it."""

    spec = Spec(access=EVERYONE, event="NETWORK.DELETE")

    id: Annotated[str, Ref(Network)]
    forced: Annotated[bool, NoEffect("a network with VMs is never deleted")] = False

    def run(self, call: Call) -> Job:
        """Refuse while VMs are plugged in."""
        row = call.row(Network, self.id)
        query = (
            select(Vm.name)
            .join(Nic, Nic.vm_id == Vm.id)
            .where(Nic.network_id == row.id, Nic.removed.is_(None), Vm.removed.is_(None))
            .where(Vm.kind == VmKind.user, Vm.state != VmState.expunging)
        )
        vm = call.session.scalar(query.limit(1))
        if vm is not None:
            raise InUse(f"Network {row.name} still has VM {vm}; expunge its VMs first")
        return call.submit(names.DELETE_NETWORK, {"network_id": row.id}, kind="Network", about=row)


class RestartNetwork(AsyncCommand, kw_only=True, frozen=True):
    """Applies a network's configuration again; with cleanup its router is made anew."""

    spec = Spec(access=EVERYONE, event="NETWORK.RESTART")

    id: Annotated[str, Ref(Network)]
    cleanup: Annotated[bool, "true: replace the router by a new one with the same public address"] = False

    def run(self, call: Call) -> Job:
        """Only what is implemented can be restarted."""
        row = call.row(Network, self.id)
        if row.state != NetworkState.implemented:
            raise ParameterError(
                f"Network {row.name} is {row.state}; only an Implemented one can be restarted"
            )
        arguments = {"network_id": row.id, "cleanup": self.cleanup}
        return call.submit(names.RESTART_NETWORK, arguments, kind="Network", about=row)


def _addresses(gateway: str | None, netmask: str | None, zone: Zone) -> tuple[IPv4Network, IPv4Address]:
    if (gateway is None) != (netmask is None):
        raise ParameterError("gateway and netmask go together; send both or neither")
    if gateway is None or netmask is None:
        network = IPv4Network(zone.guest_cidr)
        return network, network[1]
    router = read_address("gateway", gateway)
    network = network_of(router, netmask)
    if network.prefixlen > LONGEST_PREFIX or network.prefixlen < 16:
        raise wrong_value("netmask", netmask, f"a network between /16 and /{LONGEST_PREFIX}")
    if not network.is_private or network.is_link_local or network.is_loopback:
        raise wrong_value("gateway", gateway, "an address of a private network, as 10.1.1.1")
    if router in (network.network_address, network.broadcast_address):
        raise wrong_value("gateway", gateway, f"a host address of {network}")
    return network, router


def _domain(text: str | None, zone: Zone, call: Call) -> str:
    """What was asked for; else the account's, the domain's, the zone's, in this order."""
    owner = call.owner
    names = (read_network_domain(text), owner.account.network_domain, owner.domain.network_domain)
    wanted = next((name for name in names if name), None) or zone.network_domain
    return wanted or f"{owner.account.id[:8]}.cloud.internal"
