"""Whether a volume could move to a pool: what commands refuse, and what the workflows check again."""

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.alloc.pools import host_for, is_reached_from, lacking_tags, require_room, wish_of
from mgmt.model.errors import InUse, ParameterError, Unavailable
from mgmt.model.states import VmKind, VmState, VolumeState
from mgmt.store.tables import Host, StoragePool, Vm, Volume


def other_pools(session: Session, volume: Volume) -> list[tuple[StoragePool, str]]:
    """The zone's other pools, and why the volume could not move there; empty if it could."""
    query = select(StoragePool).where(
        StoragePool.zone_id == volume.zone_id,
        StoragePool.removed.is_(None),
        StoragePool.id != volume.pool_id,
    )
    here = session.get(StoragePool, volume.pool_id) if volume.pool_id else None
    found = []
    for pool in session.scalars(query.order_by(StoragePool.created, StoragePool.id)).all():
        found.append((pool, _obstacle(session, volume, here, pool)))
    return found


def _obstacle(session: Session, volume: Volume, here: StoragePool | None, pool: StoragePool) -> str:
    if here is None or volume.state not in (VolumeState.ready, VolumeState.migrating):
        return f"volume {volume.name} has no file yet, so there is nothing to move"
    if words := lacking_tags(pool, wish_of(session, volume)):
        return f"storage pool {pool.name} {words}"
    vm = session.get(Vm, volume.vm_id) if volume.vm_id else None
    if vm is not None and vm.kind == VmKind.user and vm.state == VmState.running:
        return _obstacle_meanwhile(session, vm, pool)
    try:
        source, target = ends_of(session, volume, here, pool)
    except Unavailable as error:
        return str(error)
    if source.driver != target.driver:
        return f"storage pool {pool.name} is on a {target.driver} host, the volume on a {source.driver} one"
    for host in (source, target):
        if host.state != "Up":
            return f"host {host.name} is {host.state}"
    return "" if pool.state == "Up" else f"storage pool {pool.name} is {pool.state}"


def _obstacle_meanwhile(session: Session, vm: Vm, pool: StoragePool) -> str:
    """While a VM runs, only the host that it runs on can copy its disks."""
    host = session.get_one(Host, vm.host_id)
    if host.state != "Up":
        return f"host {host.name} is {host.state}"
    reached = select(StoragePool.id).where(StoragePool.id == pool.id, is_reached_from(host.id))
    if session.scalar(reached) is None:
        return (
            f"host {host.name}, on which VM {vm.name} runs, does not reach storage pool {pool.name}: move the"
            " VM with migrateVirtualMachineWithVolume, or stop it"
        )
    return "" if pool.state == "Up" else f"storage pool {pool.name} is {pool.state}"


def refuse_move(session: Session, volume: Volume, pool: StoragePool) -> None:
    """Raise ParameterError, NoCapacity unless the volume could move to the pool now."""
    here = session.get(StoragePool, volume.pool_id) if volume.pool_id else None
    if pool.id == volume.pool_id:
        raise ParameterError(f"volume {volume.name} is in storage pool {pool.name} already")
    if words := _obstacle(session, volume, here, pool):
        raise ParameterError(words)
    require_room(session, pool, volume.size)


def take_room(session: Session, vm_id: str | None, pools: Mapping[str, str]) -> list[Volume]:
    """Let volumes, all of one VM or of none, be Migrating to pools, unless they are already.

    Raises InUse, ParameterError, NoCapacity.
    """
    taken = []
    for volume_id, pool_id in sorted(pools.items()):
        volume, pool = session.get_one(Volume, volume_id), session.get_one(StoragePool, pool_id)
        if volume.vm_id != vm_id:
            raise InUse(f"volume {volume.name} was attached or detached meanwhile")
        if volume.target_pool_id != pool_id:
            refuse_move(session, volume, pool)
            volume.target_pool_id, volume.state = pool_id, VolumeState.migrating
            session.flush()
        taken.append(volume)
    return taken


def refuse_apart(session: Session, vm: Vm, pools: Mapping[str, str]) -> None:
    """Raise ParameterError unless one host reaches all volumes of a VM once those in `pools` have moved."""
    query = select(Volume).where(
        Volume.vm_id == vm.id, Volume.removed.is_(None), Volume.state != VolumeState.allocated
    )
    ids = {pools.get(volume.id) or volume.pool_id for volume in session.scalars(query)} - {None}
    after = session.scalars(select(StoragePool).where(StoragePool.id.in_(ids))).all()
    homes = {pool.host_id for pool in after if pool.host_id is not None}
    if not homes:
        return
    reached = select(StoragePool.id).where(StoragePool.id.in_(ids), is_reached_from(min(homes)))
    if len(homes) > 1 or set(session.scalars(reached)) != ids:
        raise ParameterError(
            f"VM {vm.name} has other volumes on the same host: move all with migrateVirtualMachine"
            " storageid=…, or detach this one"
        )


def ends_of(session: Session, volume: Volume, here: StoragePool, there: StoragePool) -> tuple[Host, Host]:
    """The hosts that give and take a volume: one that reaches both pools, where there is one.

    Raises Unavailable when no host that is Up reaches a shared one.
    """
    vm = session.get(Vm, volume.vm_id) if volume.vm_id else None
    if there.host_id is not None:
        return host_for(session, here, there.host_id), session.get_one(Host, there.host_id)
    source = host_for(session, here, (vm.host_id or vm.last_host_id) if vm is not None else None)
    return source, host_for(session, there, source.id)
