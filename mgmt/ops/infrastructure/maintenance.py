"""Hosts and storage pools out of service: nothing new comes to them, what can move away does."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.agents.errors import AgentError
from mgmt.model.errors import InUse, Unavailable
from mgmt.model.states import VmKind, VmState
from mgmt.ops.compute.migration import migrate_vm
from mgmt.ops.compute.placement import unplace_vm
from mgmt.ops.compute.states import read_vm, set_vm
from mgmt.ops.endpoints import driver_of, host_endpoint
from mgmt.ops.infrastructure.hosts import store_info
from mgmt.ops.machines import system_vms
from mgmt.ops.machines.system_vm_moves import can_move, migrate_system_vm
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga
from mgmt.store.tables import Host, StoragePool, Vm, Volume

ENABLED, PREPARING, MAINTENANCE = "Enabled", "PrepareForMaintenance", "Maintenance"
#: How many VMs a sentence names.
MOST_NAMED = 5
_ON = (VmState.starting, VmState.running, VmState.stopping, VmState.migrating)


def prepare_host(runtime: Runtime, saga: Saga, *, host_id: str) -> None:
    """Move tenants' VMs, then system VMs, from a host that takes nothing new.

    A system VM that no other host takes is stopped, and started by the reconcile loop once one does. VMs
    that moved before another could not stay where they are.
    """
    saga.on_failure("take the host back into service", lambda: set_resource_state(runtime, host_id, ENABLED))
    for vm_id in saga.step("look at the host's VMs", lambda: _guests(runtime, host_id)):
        # Jobs about the VM wait: theirs is the same lock.
        with runtime.locks.hold(f"job:{vm_id}"), saga.nested() as moving:
            if moving.step("look whether the VM is still there", lambda: _is_there(runtime, vm_id, host_id)):  # noqa: B023
                migrate_vm(runtime, moving, vm_id=vm_id)
    saga.step("look whether a VM was placed there meanwhile", lambda: _check_empty(runtime, host_id))
    for vm_id in saga.step("look at the host's system VMs", lambda: _system_vms(runtime, host_id)):
        with runtime.locks.hold(f"job:{vm_id}"), saga.nested() as moving:
            if moving.step("look whether another host takes it", lambda: can_move(runtime, vm_id)):  # noqa: B023
                migrate_system_vm(runtime, moving, vm_id=vm_id)
            else:
                moving.on_failure("let it run on", lambda: system_vms.let_run(runtime, vm_id))  # noqa: B023
                moving.step("stop a system VM", lambda: _put_away(runtime, vm_id))  # noqa: B023
    saga.step("say that the host is out of service", lambda: _enter(runtime, host_id))
    runtime.wake.set()


def reconnect_host(runtime: Runtime, saga: Saga, *, host_id: str) -> None:
    """Ask a host's agent again who it is; the host is Up if it answers."""
    saga.step("ask the host's agent", lambda: _ask(runtime, host_id))


def set_resource_state(runtime: Runtime, host_id: str, state: str) -> None:
    """Put a host into service or out of it."""
    with runtime.database.writing() as session:
        session.get_one(Host, host_id).resource_state = state


def refuse_while_used(session: Session, host: Host) -> None:
    """Raise `InUse` naming the tenants' VMs that run on a host."""
    query = select(Vm.name).where(
        Vm.host_id == host.id, Vm.kind == VmKind.user, Vm.removed.is_(None), Vm.state.in_(_ON)
    )
    names = list(session.scalars(query.order_by(Vm.name)))
    if names:
        raise InUse(f"Host {host.name} runs {listed(names)}: stop or migrate them first")


def refuse_while_pool_used(session: Session, pool: StoragePool) -> None:
    """Raise `InUse` naming the VMs that run with a volume of a pool."""
    query = (
        select(Vm.name)
        .join(Volume, Volume.vm_id == Vm.id)
        .where(Volume.pool_id == pool.id, Volume.removed.is_(None))
        .where(Vm.removed.is_(None), Vm.state.in_(_ON))
    )
    names = sorted(set(session.scalars(query)))
    if names:
        raise InUse(f"Storage pool {pool.name} has disks of {listed(names)}, which run: stop them first")


def listed(names: list[str]) -> str:
    """`VMs a, b and 3 more`."""
    more = len(names) - MOST_NAMED
    words = ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
    return f"VM {words}" if len(names) == 1 else f"VMs {words}"


def _check_empty(runtime: Runtime, host_id: str) -> None:
    """A deploy that chose the host a moment before it was closed may have come to it since."""
    with runtime.database.reading() as session:
        refuse_while_used(session, session.get_one(Host, host_id))


def _guests(runtime: Runtime, host_id: str) -> list[str]:
    with runtime.database.reading() as session:
        query = select(Vm.id).where(Vm.host_id == host_id, Vm.kind == VmKind.user, Vm.removed.is_(None))
        return list(session.scalars(query.order_by(Vm.created, Vm.id)))


def _is_there(runtime: Runtime, vm_id: str, host_id: str) -> bool:
    """Whether a VM runs there; one that was cut on its way is on its way still."""
    vm = read_vm(runtime, vm_id)
    return vm.host_id == host_id and vm.state in (VmState.running, VmState.migrating)


def _system_vms(runtime: Runtime, host_id: str) -> list[str]:
    with runtime.database.reading() as session:
        query = select(Vm.id).where(
            Vm.host_id == host_id, Vm.kind != VmKind.user, Vm.removed.is_(None), Vm.state.in_(_ON)
        )
        return list(session.scalars(query))


def _put_away(runtime: Runtime, vm_id: str) -> None:
    with runtime.locks.hold(f"machine:{vm_id}"):
        with runtime.database.reading() as session:
            vm = session.get_one(Vm, vm_id)
        if vm.host_id is not None:
            set_vm(runtime, vm_id, state=VmState.stopping, healthy=False)
            system_vms.put_down(runtime, vm_id)
            unplace_vm(runtime, vm_id, VmState.stopped, "its host went into maintenance")
        set_vm(runtime, vm_id, desired_power="running")


def _enter(runtime: Runtime, host_id: str) -> None:
    with runtime.database.writing() as session:
        host = session.get_one(Host, host_id)
        if host.resource_state == PREPARING:
            host.resource_state = MAINTENANCE


def _ask(runtime: Runtime, host_id: str) -> None:
    with runtime.database.reading() as session:
        host = session.get_one(Host, host_id)
    try:
        info = driver_of(runtime, host).info(host_endpoint(host))
    except AgentError as error:
        raise Unavailable(f"host {host.name} at {host.address} does not answer: {error}") from error
    with runtime.database.writing() as session:
        row = session.get_one(Host, host_id)
        row.state, row.last_seen = "Up", runtime.now()
        store_info(session, row, info)
