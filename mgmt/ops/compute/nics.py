"""NICs of VMs that exist: plugged in and out, also while the VM runs; their addresses."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.model.errors import InUse
from mgmt.model.states import VmState
from mgmt.ops.compute.domains import put_vm
from mgmt.ops.compute.states import read_vm
from mgmt.ops.compute.vm_workflows import push_change
from mgmt.ops.network.host_networks import push_host, push_hosts_of
from mgmt.ops.network.networks import ensure_network
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga
from mgmt.store.tables import (
    BalancerMember,
    BalancerRule,
    Nic,
    NicAddress,
    PortForwardingRule,
    PublicAddress,
)
from mgmt.store.tables.base import now


def plug_nic(runtime: Runtime, saga: Saga, *, vm_id: str, nic_id: str) -> None:
    """Make a NIC, whose row is there, work: network, router, and the VM itself if it runs.

    On failure the row is removed again and the VM is as it was.
    """
    with runtime.locks.hold(f"vm:{vm_id}"):
        saga.on_failure("add the NIC", lambda: _take_out(runtime, vm_id, nic_id))
        network_id: str = saga.step("look at the NIC", lambda: _network_of(runtime, nic_id))
        host_id: str | None = saga.step("look at the VM", lambda: _running_host(runtime, vm_id))
        if host_id is not None:
            ensure_network(runtime, saga, network_id)
            saga.step("prepare the networks of the hosts", lambda: push_hosts_of(runtime, network_id))
        saga.step("tell the router about the VM", lambda: push_change(runtime, network_id))
        if host_id is not None:
            saga.step("plug the NIC in", lambda: put_vm(runtime, vm_id, "running"))


def unplug_nic(runtime: Runtime, saga: Saga, *, vm_id: str, nic_id: str) -> None:
    """Take a NIC from its VM, at once if it runs; on failure the VM has it again."""
    with runtime.locks.hold(f"vm:{vm_id}"):
        network_id: str = saga.step("look at the NIC", lambda: _network_of(runtime, nic_id))
        saga.on_failure("remove the NIC", lambda: _put_back(runtime, vm_id, nic_id))
        saga.step("remove the NIC", lambda: _set_removed(runtime, nic_id, is_removed=True))
        host_id: str | None = saga.step("look at the VM", lambda: _running_host(runtime, vm_id))
        if host_id is not None:
            saga.step("unplug the NIC", lambda: put_vm(runtime, vm_id, "running"))
            saga.step("prepare the networks of the host", lambda: push_host(runtime, host_id))
        saga.step("tell the router about the VM", lambda: push_change(runtime, network_id))
        saga.step("free its secondary addresses", lambda: _free_secondary(runtime, nic_id))


def check_unused(session: Session, nic: Nic, address: str | None = None) -> None:
    """Raise `InUse` if a rule leads to the NIC, or to this address of it only."""
    forward = select(PortForwardingRule.id).where(
        PortForwardingRule.vm_id == nic.vm_id,
        PortForwardingRule.network_id == nic.network_id,
        PortForwardingRule.removed.is_(None),
    )
    static_nat = select(PublicAddress.address).where(
        PublicAddress.vm_id == nic.vm_id,
        PublicAddress.network_id == nic.network_id,
        PublicAddress.is_static_nat,
    )
    member = (
        select(BalancerRule.name)
        .join(BalancerMember, BalancerMember.rule_id == BalancerRule.id)
        .where(BalancerMember.vm_id == nic.vm_id, BalancerMember.removed.is_(None))
        .where(BalancerRule.network_id == nic.network_id, BalancerRule.removed.is_(None))
    )
    if address is not None:
        forward = forward.where(PortForwardingRule.vm_address == address)
        static_nat = static_nat.where(PublicAddress.vm_address == address)
        member = member.where(BalancerMember.address == address)
    for query, words in (
        (forward, "port forwarding rule {} leads to it; delete the rule first"),
        (static_nat, "static NAT of {} leads to it; disable it first"),
        (member, "load balancer {} has it as a member; take it out first"),
    ):
        if user := session.scalar(query.limit(1)):
            raise InUse(f"Address {address or nic.address} cannot go: {words.format(user)}")


def _network_of(runtime: Runtime, nic_id: str) -> str:
    with runtime.database.reading() as session:
        return session.get_one(Nic, nic_id).network_id or ""


def _running_host(runtime: Runtime, vm_id: str) -> str | None:
    vm = read_vm(runtime, vm_id)
    return vm.host_id if vm.state == VmState.running else None


def _set_removed(runtime: Runtime, nic_id: str, *, is_removed: bool) -> None:
    with runtime.database.writing() as session:
        nic = session.get_one(Nic, nic_id)
        nic.removed = (nic.removed or now()) if is_removed else None


def _take_out(runtime: Runtime, vm_id: str, nic_id: str) -> None:
    """Undo of an addition; a running VM is unplugged before its host forgets the network."""
    _set_removed(runtime, nic_id, is_removed=True)
    _show(runtime, vm_id, _network_of(runtime, nic_id))


def _put_back(runtime: Runtime, vm_id: str, nic_id: str) -> None:
    _set_removed(runtime, nic_id, is_removed=False)
    host_id = _running_host(runtime, vm_id)
    if host_id is not None:
        push_host(runtime, host_id)
    _show(runtime, vm_id, _network_of(runtime, nic_id))


def _show(runtime: Runtime, vm_id: str, network_id: str) -> None:
    """Bring the VM, its host and the router to what the rows say."""
    host_id = _running_host(runtime, vm_id)
    if host_id is not None:
        put_vm(runtime, vm_id, "running")
        push_host(runtime, host_id)
    push_change(runtime, network_id)


def _free_secondary(runtime: Runtime, nic_id: str) -> None:
    with runtime.database.writing() as session:
        query = select(NicAddress).where(NicAddress.nic_id == nic_id, NicAddress.removed.is_(None))
        for address in session.scalars(query):
            address.removed = now()
