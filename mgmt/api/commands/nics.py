"""NICs of VMs that exist, and their addresses."""

import re
from typing import Annotated, Any

from sqlalchemy import select

from mgmt.alloc.guests import guest_address
from mgmt.api.access import EVERYONE, Ref
from mgmt.api.addresses import read_address
from mgmt.api.call import Call
from mgmt.api.lists import Equals, OwnedListCommand, ShownToUsers
from mgmt.api.params import wrong_value
from mgmt.api.registry import AsyncCommand, Spec
from mgmt.api.responses.nics import NIC, NIC_ADDRESS
from mgmt.api.responses.virtual_machines import VIRTUAL_MACHINE
from mgmt.api.user_vms import KIND, must_be, user_vm
from mgmt.model.errors import InUse, ParameterError
from mgmt.model.states import VmState
from mgmt.ops import names
from mgmt.ops.compute.nics import check_unused
from mgmt.ops.compute.vm_snapshots import refuse_with_snapshots
from mgmt.ops.compute.vms import add_nic, check_vm_name
from mgmt.store.tables import Job, Network, Nic, NicAddress, Vm

_MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}")
#: PCI Express ports that a host gives a VM for plugging in, beside what it starts with.
MOST_NICS = 8


class ListNics(OwnedListCommand, kw_only=True, frozen=True):
    """Lists the NICs of a virtual machine."""

    spec = Spec(answer=NIC, access=EVERYONE)

    virtualmachineid: Annotated[str, Ref(Vm), Equals(Nic.vm_id)]
    nicid: Annotated[str | None, Ref(Nic), Equals(Nic.id)] = None
    networkid: Annotated[str | None, Ref(Network), Equals(Nic.network_id)] = None
    fordisplay: ShownToUsers = None

    def ownership(self, call: Call) -> Any:
        """The VM was authorized; its NICs are its own."""
        return Nic.purpose == "guest"

    def order(self) -> Any:
        """As they are plugged."""
        return (Nic.position, Nic.id)


class AddNicToVirtualMachine(AsyncCommand, kw_only=True, frozen=True):
    """Plugs a virtual machine into another network, at once if it runs."""

    spec = Spec(answer=VIRTUAL_MACHINE, access=EVERYONE, event="NIC.CREATE")

    virtualmachineid: Annotated[str, Ref(Vm)]
    networkid: Annotated[str, Ref(Network)]
    ipaddress: Annotated[str | None, "the wanted address"] = None
    macaddress: Annotated[str | None, "the wanted MAC address"] = None

    def run(self, call: Call) -> Job:
        """Insert the NIC; network, router and host follow."""
        vm = user_vm(call, self.virtualmachineid, "virtualmachineid")
        must_be(vm, "plugged into a network", VmState.running, VmState.stopped)
        refuse_with_snapshots(call.session, vm, "no NIC can be added to it")
        network = call.row(Network, self.networkid)
        there = _nics(call, vm)
        if network.account_id != vm.account_id or network.zone_id != vm.zone_id:
            raise ParameterError(f"Network {network.name} is not of the account and zone of VM {vm.name}")
        if any(nic.network_id == network.id for nic in there):
            raise ParameterError(f"VM {vm.name} has a NIC in network {network.name} already")
        if len(there) >= MOST_NICS:
            raise ParameterError(f"VM {vm.name} has {len(there)} NICs, which is the most")
        check_vm_name(call.session, vm.name, [network.id], vm.id)
        wanted = str(read_address("ipaddress", self.ipaddress)) if self.ipaddress else None
        position = max((nic.position for nic in there), default=-1) + 1
        nic = add_nic(call.session, vm, network, position, wanted, self._mac(call))
        return call.submit(names.PLUG_NIC, {"vm_id": vm.id, "nic_id": nic.id}, kind=KIND, about=vm)

    def _mac(self, call: Call) -> str | None:
        if not self.macaddress:
            return None
        mac = self.macaddress.lower().replace("-", ":")
        # The lowest bit of the first octet says multicast, which no NIC is (IEEE 802).
        if not _MAC.fullmatch(mac) or int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00":
            raise wrong_value("macaddress", self.macaddress, "a unicast MAC address as 02:00:4c:4f:4f:50")
        if call.session.scalar(select(Nic.id).where(Nic.mac == mac, Nic.removed.is_(None))):
            raise ParameterError(f"MAC address {mac} is taken: choose another, or leave macaddress away")
        return mac


class RemoveNicFromVirtualMachine(AsyncCommand, kw_only=True, frozen=True):
    """Takes a virtual machine out of a network, at once if it runs."""

    spec = Spec(answer=VIRTUAL_MACHINE, access=EVERYONE, event="NIC.DELETE")

    virtualmachineid: Annotated[str, Ref(Vm)]
    nicid: Annotated[str, Ref(Nic)]

    def run(self, call: Call) -> Job:
        """Neither the default NIC, nor one that rules lead to."""
        vm = user_vm(call, self.virtualmachineid, "virtualmachineid")
        must_be(vm, "taken out of a network", VmState.running, VmState.stopped)
        refuse_with_snapshots(call.session, vm, "no NIC can be removed from it")
        nic = _nic_of(call, vm, self.nicid)
        if nic.is_default:
            raise ParameterError(
                f"NIC {nic.id} is the default one of VM {vm.name}: make another the default first"
                " with updateDefaultNicForVirtualMachine"
            )
        check_unused(call.session, nic)
        return call.submit(names.UNPLUG_NIC, {"vm_id": vm.id, "nic_id": nic.id}, kind=KIND, about=vm)


class UpdateDefaultNicForVirtualMachine(AsyncCommand, kw_only=True, frozen=True):
    """Makes a NIC the default one: its network's router is the guest's way out."""

    spec = Spec(answer=VIRTUAL_MACHINE, access=EVERYONE, event="NIC.UPDATE")

    virtualmachineid: Annotated[str, Ref(Vm)]
    nicid: Annotated[str, Ref(Nic)]

    def run(self, call: Call) -> Job:
        """Routers tell the guest with its next DHCP answer."""
        vm = user_vm(call, self.virtualmachineid, "virtualmachineid")
        must_be(vm, "given another default NIC", VmState.running, VmState.stopped)
        wanted = _nic_of(call, vm, self.nicid)
        if wanted.is_default:
            raise ParameterError(f"NIC {wanted.id} is the default one of VM {vm.name} already")
        for nic in _nics(call, vm):
            nic.is_default = nic.id == wanted.id
        return call.submit(names.REFRESH_GUEST, {"vm_id": vm.id}, kind=KIND, about=vm)


class UpdateVmNicIp(AsyncCommand, kw_only=True, frozen=True):
    """Changes the address of a stopped virtual machine's NIC."""

    spec = Spec(answer=VIRTUAL_MACHINE, access=EVERYONE, event="NIC.UPDATE")

    nicid: Annotated[str, Ref(Nic)]
    ipaddress: Annotated[str | None, "the wanted address; any free one without it"] = None

    def run(self, call: Call) -> Job:
        """Only of a stopped VM: a running guest would keep the address it has."""
        nic, vm, network = _guest_nic(call, self.nicid)
        must_be(vm, "given another address", VmState.stopped)
        check_unused(call.session, nic, nic.address)
        wanted = str(read_address("ipaddress", self.ipaddress)) if self.ipaddress else None
        if wanted is None or wanted != nic.address:
            nic.address = guest_address(call.session, network, wanted)
        return call.submit(names.REFRESH_GUEST, {"vm_id": vm.id}, kind=KIND, about=vm)


class AddIpToNic(AsyncCommand, kw_only=True, frozen=True):
    """Gives a NIC a secondary address, which rules may lead to; the guest sets it up itself."""

    spec = Spec(
        answer=NIC_ADDRESS,
        access=EVERYONE,
        event="NIC.SECONDARY.IP.CONFIGURE",
        envelope="addiptovmnicresponse",
    )
    creates = True

    nicid: Annotated[str, Ref(Nic)]
    ipaddress: Annotated[str | None, "the wanted address; any free one without it"] = None

    def run(self, call: Call) -> Job:
        """Reserve it; routers know it once a rule needs it."""
        nic, _vm, network = _guest_nic(call, self.nicid)
        wanted = str(read_address("ipaddress", self.ipaddress)) if self.ipaddress else None
        row = NicAddress(
            account_id=nic.account_id,
            domain_id=nic.domain_id,
            nic_id=nic.id,
            network_id=network.id,
            address=guest_address(call.session, network, wanted),
        )
        call.session.add(row)
        return call.finish(kind="NicSecondaryIp", about=row)


class RemoveIpFromNic(AsyncCommand, kw_only=True, frozen=True):
    """Frees a secondary address that no rule leads to."""

    spec = Spec(access=EVERYONE, event="NIC.SECONDARY.IP.UNCONFIGURE")

    id: Annotated[str, Ref(NicAddress), "the ID of the secondary address"]

    def run(self, call: Call) -> Job:
        """Free it, unless it is in use."""
        row = call.row(NicAddress, self.id)
        check_unused(call.session, call.session.get_one(Nic, row.nic_id), row.address)
        row.removed = call.now()
        return call.finish(kind="NicSecondaryIp", about=row)


def _nics(call: Call, vm: Vm) -> list[Nic]:
    query = select(Nic).where(Nic.vm_id == vm.id, Nic.removed.is_(None)).order_by(Nic.position)
    return list(call.session.scalars(query))


def _nic_of(call: Call, vm: Vm, nic_id: str) -> Nic:
    nic = call.row(Nic, nic_id)
    if nic.vm_id != vm.id:
        raise ParameterError(f"NIC {nic.id} is not one of VM {vm.name}")
    return nic


def _guest_nic(call: Call, nic_id: str) -> tuple[Nic, Vm, Network]:
    """A NIC of a tenant's VM, the VM, the network. Raises `ParameterError`."""
    nic = call.row(Nic, nic_id)
    vm = call.session.get_one(Vm, nic.vm_id)
    network = call.session.get(Network, nic.network_id) if nic.network_id else None
    if network is None or vm.kind != "user":
        raise ParameterError(f"NIC {nic.id} is not one of a tenant's VM")
    if vm.state in (VmState.destroyed, VmState.expunging, VmState.error):
        raise InUse(f"VM {vm.name} is {vm.state}")
    return nic, vm, network
