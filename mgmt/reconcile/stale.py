"""Old copies that a host still has although VM or volume is on another one: an answer of a move was lost.

The row says which copy counts. The other goes once the host that the row names has the volume, under the
lock of jobs about it, and never what a VM here uses.
"""

import logging
from collections.abc import Iterable, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mgmt.alloc.pools import host_for
from mgmt.model.errors import Unavailable
from mgmt.model.states import VmState, VolumeState
from mgmt.ops.compute.domains import host_pool
from mgmt.ops.compute.placement import tied_to
from mgmt.ops.endpoints import driver_of, host_endpoint
from mgmt.ops.runtime import Runtime
from mgmt.reconcile.look import is_busy
from mgmt.store.tables import Host, StoragePool, Vm, Volume
from systemvm.spec.host import DomainStatus, HostVolume

log = logging.getLogger(__name__)
_OFF = ("stopped", "crashed", "failed")


def with_misplaced(
    session: Session, reports: Sequence[tuple[str, Sequence[DomainStatus], Sequence[HostVolume]]]
) -> set[str]:
    """Ids of the hosts that say they have what a row says is on another, or in another pool; two statements.

    `reports` are hosts' ids with their VMs and volumes. What of it is stale, `remove_stale` decides.
    """
    files = [(host_id, volume) for host_id, _, volumes in reports for volume in volumes]
    off = [(host_id, vm.id) for host_id, vms, _ in reports for vm in vms if vm.state in _OFF]
    places = select(Volume.id, StoragePool).join(StoragePool, StoragePool.id == Volume.pool_id)
    machines = select(Vm.id, func.coalesce(Vm.host_id, Vm.last_host_id))
    stored = places.where(Volume.id.in_([file.id for _, file in files]))
    pools = {row[0]: row[1] for row in session.execute(stored)}
    placed = machines.where(Vm.id.in_([vm_id for _, vm_id in off]))
    homes = {row[0]: row[1] for row in session.execute(placed)}
    found = {host_id for host_id, vm_id in off if homes.get(vm_id) not in (None, host_id)}
    for host_id, file in files:
        pool = pools.get(file.id)
        if pool is not None and not _is_in(pool, host_id, file.pool):
            found.add(host_id)
    return found


def _is_in(pool: StoragePool, host_id: str, place: str) -> bool:
    """Whether a place of a host is the pool; a shared one is on all hosts."""
    return pool.host_id in (None, host_id) and host_pool(pool) == place


def remove_stale(
    runtime: Runtime, host: Host, domains: Iterable[DomainStatus], volumes: Iterable[HostVolume]
) -> None:
    """Remove what is stale of what a host says it has. Raises AgentError, CloudError."""
    with runtime.database.reading() as session:
        off = [status.id for status in domains if status.state in _OFF]
        vms = [vm.id for vm in session.scalars(select(Vm).where(Vm.id.in_(off))) if _is_elsewhere(vm, host)]
        files = list(volumes)
        known = select(Volume).where(Volume.id.in_([file.id for file in files]))
        rows = {row.id: row for row in session.scalars(known)}
        stale = [
            (file, rows[file.id].vm_id)
            for file in files
            if file.id in rows and _true_host(session, rows[file.id], host, file.pool)
        ]
    for vm_id in vms:
        _remove_definition(runtime, host, vm_id)
    for file, owner_id in stale:
        if file.domain in ("", *vms):
            _remove_copy(runtime, host, file, owner_id)


def _is_elsewhere(vm: Vm, host: Host) -> bool:
    home = vm.host_id or vm.last_host_id
    is_still = vm.state in (VmState.running, VmState.stopped) and vm.target_host_id is None
    return vm.removed is None and is_still and home not in (None, host.id)


def _true_host(session: Session, row: Volume, host: Host, place: str) -> str | None:
    """A host that has the volume by its row, in another pool than `place` here; None if it is in that one."""
    is_still = row.state == VolumeState.ready and row.target_pool_id is None and row.removed is None
    pool = session.get(StoragePool, row.pool_id) if row.pool_id and is_still else None
    if pool is None or _is_in(pool, host.id, place):
        return None
    try:
        return host_for(session, pool, host.id).id
    except Unavailable:
        return None  # nobody can tell


def _remove_definition(runtime: Runtime, host: Host, vm_id: str) -> None:
    job, machine = f"job:{vm_id}", f"machine:{vm_id}"
    with runtime.locks.try_hold(job) as is_idle, runtime.locks.try_hold(machine) as is_free:
        with runtime.database.reading() as session:
            vm = session.get_one(Vm, vm_id)
            is_stale = _is_elsewhere(vm, host) and tied_to(session, vm) != host.id
            has_job = is_busy(session, vm_id)
        driver, endpoint = driver_of(runtime, host), host_endpoint(host)
        status = driver.domain_status(endpoint, vm_id)
        if is_free and is_idle and is_stale and not has_job and status and status.state in _OFF:
            log.warning("VM %s is forgotten by host %s, because it is on another", vm.name, host.name)
            driver.delete_domain(endpoint, vm_id, keep_volumes=True)


def _remove_copy(runtime: Runtime, host: Host, file: HostVolume, vm_id: str | None) -> None:
    volume_id = file.id
    with runtime.locks.try_hold(f"job:{vm_id or volume_id}") as is_free:
        with runtime.database.reading() as session:
            row = session.get_one(Volume, volume_id)
            true = session.get(Host, _true_host(session, row, host, file.pool) or "")
            pool = session.get(StoragePool, row.pool_id) if row.pool_id else None
            has_job = is_busy(session, volume_id, row.vm_id)
        if true is None or pool is None or not is_free or has_job or row.vm_id != vm_id:
            return
        there = driver_of(runtime, true).all_volumes(host_endpoint(true))
        if (volume_id, host_pool(pool)) not in {(volume.id, volume.pool) for volume in there}:
            log.error(
                "volume %s is kept on host %s, because host %s has it not", row.name, host.name, true.name
            )
            return
        log.warning(
            "a copy of volume %s leaves host %s, because host %s has it", row.name, host.name, true.name
        )
        driver_of(runtime, host).delete_volume(host_endpoint(host), volume_id, file.pool)
