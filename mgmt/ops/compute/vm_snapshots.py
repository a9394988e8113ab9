"""VM snapshots: made, gone back to, removed. Commands set the rows, these workflows make them true."""

from collections.abc import Callable

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mgmt.agents.host import HostEndpoint
from mgmt.drivers.protocol import Driver
from mgmt.model.errors import CloudError, ParameterError, Unavailable
from mgmt.model.states import VmSnapshotKind, VmSnapshotState, VmState
from mgmt.ops.compute.domains import followed, has_failed, put_as_it_is
from mgmt.ops.endpoints import driver_of, host_endpoint
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga
from mgmt.store.tables import Host, Vm, VmSnapshot, Volume
from mgmt.store.tables.base import now
from systemvm.spec.host import DomainSnapshot, DomainStatus


def create_vm_snapshot(runtime: Runtime, saga: Saga, *, snapshot_id: str, vm_id: str) -> None:
    """Make the snapshot of a row in state Creating; on failure the row is in Error."""
    with runtime.locks.hold(f"vm:{vm_id}"):
        saga.on_failure("make the snapshot", lambda: _fail(runtime, snapshot_id, vm_id))
        saga.step("tell the host about the VM", lambda: _tell_stopped(runtime, vm_id))
        before: int = saga.step("measure the disks", lambda: _allocated(runtime, vm_id))
        saga.step("make the snapshot", lambda: _take(runtime, snapshot_id, vm_id))
        saga.step("note the snapshot", lambda: _note(runtime, snapshot_id, vm_id, before))


def revert_to_vm_snapshot(runtime: Runtime, saga: Saga, *, snapshot_id: str, vm_id: str) -> None:
    """Put a VM back to a snapshot: a running one to its memory too, a stopped one to its disks."""
    with runtime.locks.hold(f"vm:{vm_id}"):
        saga.on_failure("go back to the snapshot", lambda: _set_state(runtime, snapshot_id))
        saga.step("tell the host about the VM", lambda: _tell_stopped(runtime, vm_id))
        saga.step("go back to the snapshot", lambda: _revert(runtime, snapshot_id, vm_id))
        saga.step("note where the disks go on from", lambda: _make_current(runtime, snapshot_id, vm_id))


def delete_vm_snapshot(runtime: Runtime, saga: Saga, *, snapshot_id: str, vm_id: str) -> None:
    """Remove a snapshot from the VM's disks, then its row; those made after it follow the one before it."""
    with runtime.locks.hold(f"vm:{vm_id}"):
        saga.on_failure("remove the snapshot", lambda: _set_state(runtime, snapshot_id))
        saga.step("remove the snapshot from the disks", lambda: drop(runtime, vm_id, snapshot_id))
        saga.step("remove the snapshot", lambda: _remove_row(runtime, snapshot_id))


def snapshots_of(session: Session, vm_id: str) -> list[VmSnapshot]:
    """The snapshots of a VM, the oldest first."""
    query = select(VmSnapshot).where(VmSnapshot.vm_id == vm_id, VmSnapshot.removed.is_(None))
    return list(session.scalars(query.order_by(VmSnapshot.created, VmSnapshot.id)))


def refuse_with_snapshots(session: Session, vm: Vm, action: str) -> None:
    """Raise `ParameterError` if the VM has snapshots: they are of all its disks, as these are."""
    count = len(snapshots_of(session, vm.id))
    if count:
        raise ParameterError(
            f"VM {vm.name} has {count} VM snapshot{'s' * (count > 1)}, so {action}: remove them first"
        )


def drop(runtime: Runtime, vm_id: str, snapshot_id: str) -> None:
    """Remove a snapshot from a VM's disks; fine where no host knows the VM, or the VM no such snapshot."""
    found = _host(runtime, vm_id)
    if found is None or found[0].domain_status(found[1], vm_id) is None:
        return
    driver, endpoint = found
    _finish(runtime, driver, endpoint, vm_id, lambda: driver.delete_snapshot(endpoint, vm_id, snapshot_id))


def drop_all(runtime: Runtime, vm_id: str) -> None:
    """Remove all snapshots of a VM that goes: data volumes outlive it, and would keep them."""
    with runtime.database.reading() as session:
        ids = [row.id for row in snapshots_of(session, vm_id)]
    for snapshot_id in ids:
        drop(runtime, vm_id, snapshot_id)
        _remove_row(runtime, snapshot_id)


def _take(runtime: Runtime, snapshot_id: str, vm_id: str) -> None:
    document = _document(runtime, snapshot_id)
    driver, endpoint = _known_host(runtime, vm_id)
    _finish(runtime, driver, endpoint, vm_id, lambda: driver.put_snapshot(endpoint, vm_id, document))


def _revert(runtime: Runtime, snapshot_id: str, vm_id: str) -> None:
    document = _document(runtime, snapshot_id)
    driver, endpoint = _known_host(runtime, vm_id)
    _finish(runtime, driver, endpoint, vm_id, lambda: driver.revert(endpoint, vm_id, document))


def _finish(
    runtime: Runtime, driver: Driver, endpoint: HostEndpoint, vm_id: str, ask: Callable[[], DomainStatus]
) -> None:
    """Have a host do its work to the end. Raises AgentError, CloudError."""
    status = followed(runtime, driver, endpoint, ask())
    if status is None or has_failed(status):
        words = status.reason if status else "the host has no such VM any more"
        raise CloudError(f"VM {vm_id} on host {endpoint.name}: {words}")


def _document(runtime: Runtime, snapshot_id: str) -> DomainSnapshot:
    with runtime.database.reading() as session:
        row = session.get_one(VmSnapshot, snapshot_id)
        return DomainSnapshot(id=row.id, memory=row.kind == VmSnapshotKind.disk_and_memory)


def _host(runtime: Runtime, vm_id: str) -> tuple[Driver, HostEndpoint] | None:
    """The host that has a VM, or had it last."""
    with runtime.database.reading() as session:
        vm = session.get_one(Vm, vm_id)
        host_id = vm.host_id or vm.last_host_id
        host = session.get(Host, host_id) if host_id else None
    return None if host is None else (driver_of(runtime, host), host_endpoint(host))


def _known_host(runtime: Runtime, vm_id: str) -> tuple[Driver, HostEndpoint]:
    found = _host(runtime, vm_id)
    if found is None:
        raise Unavailable(f"VM {vm_id} has never run, so it has no disks yet: start it once")
    return found


def _tell_stopped(runtime: Runtime, vm_id: str) -> None:
    """A stopped VM's disks may have changed since its host was told of them."""
    with runtime.database.reading() as session:
        is_stopped = session.get_one(Vm, vm_id).state == VmState.stopped
    if is_stopped:
        put_as_it_is(runtime, vm_id)


def _allocated(runtime: Runtime, vm_id: str) -> int:
    """Bytes that the VM's disks take on their host."""
    driver, endpoint = _known_host(runtime, vm_id)
    return sum(volume.allocated for volume in driver.all_volumes(endpoint) if volume.domain == vm_id)


def _note(runtime: Runtime, snapshot_id: str, vm_id: str, before: int) -> None:
    after = _allocated(runtime, vm_id)
    with runtime.database.writing() as session:
        row = session.get_one(VmSnapshot, snapshot_id)
        sizes = select(func.sum(Volume.size)).where(Volume.vm_id == vm_id, Volume.removed.is_(None))
        row.size = int(session.scalar(sizes) or 0)
        row.physical_size = max(after - before, 0)
        row.state = VmSnapshotState.ready
        _set_current(session, row)


def _make_current(runtime: Runtime, snapshot_id: str, vm_id: str) -> None:
    with runtime.database.writing() as session:
        row = session.get_one(VmSnapshot, snapshot_id)
        row.state = VmSnapshotState.ready
        _set_current(session, row)


def _set_current(session: Session, row: VmSnapshot) -> None:
    for other in snapshots_of(session, row.vm_id):
        other.is_current = other.id == row.id


def _fail(runtime: Runtime, snapshot_id: str, vm_id: str) -> None:
    """The row first: a host that is silent may keep what there is of it until the row is deleted."""
    with runtime.database.writing() as session:
        row = session.get_one(VmSnapshot, snapshot_id)
        row.state, row.parent_id = VmSnapshotState.error, None
    drop(runtime, vm_id, snapshot_id)


def _set_state(runtime: Runtime, snapshot_id: str) -> None:
    """What could not be gone back to, or removed, is still there."""
    with runtime.database.writing() as session:
        session.get_one(VmSnapshot, snapshot_id).state = VmSnapshotState.ready


def _remove_row(runtime: Runtime, snapshot_id: str) -> None:
    with runtime.database.writing() as session:
        row = session.get_one(VmSnapshot, snapshot_id)
        if row.removed is not None:
            return
        row.removed = now()
        for child in session.scalars(select(VmSnapshot).where(VmSnapshot.parent_id == row.id)):
            child.parent_id = row.parent_id
        if row.is_current and row.parent_id is not None:
            session.get_one(VmSnapshot, row.parent_id).is_current = True
        row.is_current = False
