"""Public addresses and static NAT."""

from typing import Annotated, Any

from sqlalchemy import Select, select

from mgmt.alloc import addresses
from mgmt.api.absent import OfVpc, Shown
from mgmt.api.access import EVERYONE, Ref
from mgmt.api.call import Call
from mgmt.api.lists import AllAre, CountAnyway, Equals, OwnedListCommand, ShownToUsers
from mgmt.api.ownership import OwnerAccount, OwnerDomain, OwnerProject
from mgmt.api.params import Unsupported, unknown_entity, wrong_value
from mgmt.api.registry import DONE, AsyncCommand, Response, Spec, SyncCommand
from mgmt.api.responses.networks import PUBLIC_ADDRESS
from mgmt.model.errors import InUse, ParameterError, RuleConflict
from mgmt.model.states import AddressState, VmState
from mgmt.ops import names
from mgmt.store.tables import (
    BalancerRule,
    Job,
    Network,
    Nic,
    NicAddress,
    PhysicalNetwork,
    PortForwardingRule,
    PublicAddress,
    VlanRange,
    Vm,
    Zone,
)


class ListPublicIpAddresses(OwnedListCommand, kw_only=True, frozen=True):
    """Lists allocated public addresses; with allocatedonly=false the root administrator sees free ones."""

    spec = Spec(answer=PUBLIC_ADDRESS, access=EVERYONE)
    searched = (PublicAddress.address,)
    tag_type = "PublicIpAddress"

    ipaddress: Annotated[str | None, "the address", Equals(PublicAddress.address)] = None
    zoneid: Annotated[str | None, Ref(Zone, use=True), Equals(PublicAddress.zone_id)] = None
    vlanid: Annotated[str | None, Ref(VlanRange), Equals(PublicAddress.range_id)] = None
    associatednetworkid: Annotated[str | None, Ref(Network), Equals(PublicAddress.network_id)] = None
    issourcenat: Annotated[bool | None, "true for source NAT", Equals(PublicAddress.is_source_nat)] = None
    isstaticnat: Annotated[bool | None, "true for static NAT", Equals(PublicAddress.is_static_nat)] = None
    state: Annotated[str | None, Equals(PublicAddress.state)] = None
    allocatedonly: Annotated[bool, "true: only allocated addresses"] = True
    forvirtualnetwork: Annotated[bool | None, "false for those of shared networks: none", AllAre(True)] = None
    vpcid: Annotated[str | None, "list only addresses of this VPC; there are none", AllAre(None)] = None
    fordisplay: ShownToUsers = None
    networkid: Annotated[
        str | None, Ref(Network), "of this public network; addresses are of ranges", AllAre(None)
    ] = None
    forloadbalancing: Annotated[bool, "true: only those with a load balancer rule"] = False
    forsystemvms: Annotated[
        bool | None, "true for those kept for system VMs", Equals(PublicAddress.is_system)
    ] = None
    physicalnetworkid: Annotated[
        str | None, Ref(PhysicalNetwork), "list only those of ranges on this one"
    ] = None
    retrieveonlyresourcecount: CountAnyway = False

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """Free and system addresses are the operators' matter."""
        if self.forloadbalancing:
            used = select(BalancerRule.address_id).where(BalancerRule.removed.is_(None))
            query = query.where(PublicAddress.id.in_(used))
        if self.physicalnetworkid is not None:
            ranges = select(VlanRange.id).where(VlanRange.physical_network_id == self.physicalnetworkid)
            query = query.where(PublicAddress.range_id.in_(ranges))
        if self.allocatedonly or not call.caller.is_root:
            query = query.where(PublicAddress.state != AddressState.free)
        return query if call.caller.is_root else query.where(PublicAddress.is_system.is_(False))


class AssociateIpAddress(AsyncCommand, kw_only=True, frozen=True):
    """Acquires a public address for a network."""

    spec = Spec(answer=PUBLIC_ADDRESS, access=EVERYONE, event="NET.IPASSIGN", key="ipaddress")
    creates = True

    networkid: Annotated[str | None, Ref(Network), "the network it is for"] = None
    zoneid: Annotated[str | None, Ref(Zone, use=True)] = None
    ipaddress: Annotated[str | None, "this very address"] = None
    account: OwnerAccount = None
    domainid: OwnerDomain = None
    projectid: OwnerProject = None
    vpcid: OfVpc = None
    isportable: Annotated[bool, Unsupported("an address stays in its zone")] = False
    regionid: Annotated[int | None, Unsupported("an address is of a zone")] = None
    fordisplay: Shown = None

    def run(self, call: Call) -> Job:
        """Claim one free address; the router takes it as the job."""
        if self.networkid is None:
            raise ParameterError("Send networkid: a public address belongs to a network")
        network = call.row(Network, self.networkid)
        is_for = call.owner.account.id if self.account or self.projectid else None
        refuse_other_place(f"Network {network.name}", network, zone_id=self.zoneid, account_id=is_for)
        row = addresses.claim(call.session, network=network, address=self.ipaddress)
        row.allocated = call.now()
        return call.submit(names.ASSOCIATE_ADDRESS, {"address_id": row.id}, kind="IpAddress", about=row)


class DisassociateIpAddress(AsyncCommand, kw_only=True, frozen=True):
    """Releases a public address, with the rules on it."""

    spec = Spec(access=EVERYONE, event="NET.IPRELEASE")

    id: Annotated[str | None, Ref(PublicAddress)] = None
    ipaddress: Annotated[str | None, "the address, instead of id"] = None

    def run(self, call: Call) -> Job:
        """The source NAT address stays as long as its network."""
        row = self._row(call)
        if row.is_source_nat:
            raise ParameterError(
                f"{row.address} is the network's source NAT address; delete the network instead"
            )
        if row.state == AddressState.free:
            raise unknown_entity("id", row.id)
        if row.is_system or row.state != AddressState.allocated:
            raise ParameterError(f"{row.address} is {row.state}; only an allocated address can be released")
        return call.submit(names.RELEASE_ADDRESS, {"address_id": row.id}, kind="IpAddress", about=row)

    def _row(self, call: Call) -> PublicAddress:
        if self.id is not None:
            return call.row(PublicAddress, self.id)
        query = select(PublicAddress).where(
            PublicAddress.address == self.ipaddress,
            PublicAddress.account_id == call.caller.account.id,
            PublicAddress.removed.is_(None),
        )
        row = call.session.scalar(query) if self.ipaddress else None
        if row is None:
            raise ParameterError("Send id, or ipaddress of an address that you have")
        return row


class EnableStaticNat(SyncCommand, kw_only=True, frozen=True):
    """Gives a public address to one VM, both ways."""

    spec = Spec(access=EVERYONE, event="STATICNAT.ENABLE")

    ipaddressid: Annotated[str, Ref(PublicAddress)]
    virtualmachineid: Annotated[str, Ref(Vm)]
    networkid: Annotated[str | None, Ref(Network)] = None
    vmguestip: Annotated[str | None, "the VM's address that is meant"] = None

    def run(self, call: Call) -> Response:
        """Clients expect it done when this answers: the row is set now, the router follows in a job."""
        address, vm = call.row(PublicAddress, self.ipaddressid), call.row(Vm, self.virtualmachineid)
        refuse_other_place(address.address, address, network_id=self.networkid)
        if address.is_static_nat and address.vm_id == vm.id:
            return DONE
        check_free_for_nat(call, address)
        guest = guest_address_of(call, vm, address, self.vmguestip)
        address.is_static_nat, address.vm_id, address.vm_address = True, vm.id, guest
        arguments = {"address_id": address.id, "vm_id": vm.id, "vm_address": guest}
        call.submit(names.ENABLE_STATIC_NAT, arguments, kind="IpAddress", about=address)
        return DONE


class DisableStaticNat(AsyncCommand, kw_only=True, frozen=True):
    """Takes a public address from its VM."""

    spec = Spec(access=EVERYONE, event="STATICNAT.DISABLE")

    ipaddressid: Annotated[str, Ref(PublicAddress)]

    def run(self, call: Call) -> Job:
        """Only what is enabled can be disabled."""
        address = call.row(PublicAddress, self.ipaddressid)
        if not address.is_static_nat:
            raise ParameterError(f"{address.address} has no static NAT")
        return call.submit(
            names.DISABLE_STATIC_NAT, {"address_id": address.id}, kind="IpAddress", about=address
        )


def check_free_for_nat(call: Call, address: PublicAddress) -> None:
    """Raise unless nothing else uses the address."""
    if address.is_source_nat:
        raise ParameterError(f"{address.address} is the source NAT address; acquire another for static NAT")
    if address.is_static_nat:
        raise InUse(f"{address.address} has static NAT to another VM; disable it first")
    for table, word in ((PortForwardingRule, "port forwarding"), (BalancerRule, "load balancer")):
        query = select(table.id).where(table.address_id == address.id, table.removed.is_(None))
        if call.session.scalar(query.limit(1)):
            raise RuleConflict(f"{address.address} has {word} rules; delete them first")


def guest_address_of(call: Call, vm: Vm, address: PublicAddress, wanted: str | None = None) -> str:
    """The VM's address in the public address's network: `wanted`, also a secondary one, or the NIC's.

    Raises `ParameterError`.
    """
    if vm.state in (VmState.destroyed, VmState.expunging, VmState.error):
        raise ParameterError(f"VM {vm.name} is {vm.state}")
    query = select(Nic).where(
        Nic.vm_id == vm.id,
        Nic.network_id == address.network_id,
        Nic.removed.is_(None),
        Nic.purpose == "guest",
    )
    nic = call.session.scalar(query)
    if nic is None or nic.address is None:
        raise ParameterError(f"VM {vm.name} has no NIC in the network of {address.address}")
    if wanted in (None, nic.address):
        return nic.address
    secondary = select(NicAddress.address).where(NicAddress.nic_id == nic.id, NicAddress.removed.is_(None))
    own = [nic.address, *call.session.scalars(secondary)]
    if wanted not in own:
        raise wrong_value("vmguestip", wanted, f"an address of VM {vm.name}: {', '.join(own)}")
    return str(wanted)


def live_network(call: Call, address: PublicAddress) -> Network:
    """The network of an address. Raises `ParameterError` for an address without one."""
    network = call.session.get(Network, address.network_id) if address.network_id else None
    if network is None or address.state != AddressState.allocated:
        raise ParameterError(f"{address.address} is not associated with a network")
    return network


def refuse_other_place(what: str, row: Any, **sent: str | None) -> None:
    """Raise `ParameterError` if a client names another zone, network or owner than the row's own."""
    for column, value in sent.items():
        if value is not None and value != getattr(row, column):
            word = column.removesuffix("_id")
            raise ParameterError(f"{what} belongs to another {word} than the one sent; leave {word} away")
