"""Volumes that move to another pool while no VM runs with them: detached ones, or those of a stopped VM.

The pools may be on two hosts, on one, or shared. A host fetches from a host, or from itself; while it does,
a volume may be in two pools of one host, so every word about a file names its pool.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.alloc.pools import host_for, is_reached_from, require_room
from mgmt.model.errors import CloudError, InUse, ParameterError, Unavailable
from mgmt.model.states import VmState, VolumeKind, VolumeState
from mgmt.ops.compute.domains import disk_of, forget_vm, host_pool
from mgmt.ops.compute.peers import peer_of, until_done
from mgmt.ops.endpoints import driver_of, host_endpoint
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga
from mgmt.store.tables import Host, StoragePool, Vm, Volume
from systemvm.spec import host as spec

Move = dict[str, Any]
"""`volume_id`, the hosts `source` and `target`, what they call the pools (`from`, `to`), and as `home` the
host that may have the VM's definition."""


def move_volumes(runtime: Runtime, saga: Saga, *, pools: Mapping[str, str], vm_id: str | None = None) -> None:
    """Move volumes to pools (`pools` maps one to the other): all those of a stopped VM, or detached ones."""
    key = f"vm:{vm_id}" if vm_id else f"volume:{'+'.join(sorted(pools))}"
    with runtime.locks.hold(key):
        moves: list[Move] = saga.step(
            "take room in the pools",
            lambda: _reserve(runtime, vm_id, pools),
            undo=lambda moves: _stay(runtime, vm_id, moves),
        )
        for move in moves:
            saga.step("copy a volume", lambda move=move: _copy(runtime, move))  # type: ignore[misc]
        saga.step("note where the volumes are", lambda: _arrive(runtime, vm_id, moves))
        saga.step("remove the volumes from their old pools", lambda: _leave(runtime, vm_id, moves))


def settle(runtime: Runtime, vm_id: str | None, volume_id: str) -> None:
    """End a move that no job ends, of one volume or all of a VM: they are where whole files of all are.

    The old host is asked first: it loses its files only after the rows say that the new ones count. Raises
    CloudError when neither host has them all, and touches nothing then; AgentError when one does not answer.
    """
    with runtime.database.reading() as session:
        its = Volume.vm_id == vm_id if vm_id else Volume.id == volume_id
        query = select(Volume).where(its, Volume.state == VolumeState.migrating, Volume.removed.is_(None))
        moves = [_move(session, volume) for volume in session.scalars(query.order_by(Volume.id))]
    if not moves or _has_all(runtime, moves, "source"):
        _stay(runtime, vm_id, moves)
    elif _has_all(runtime, moves, "target"):
        _arrive(runtime, vm_id, moves)
        _leave(runtime, vm_id, moves)
    else:
        ids = ", ".join(move["volume_id"] for move in moves)
        raise CloudError(f"neither the host that volumes {ids} leave nor the one they go to has them all")


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
    try:
        source, target = _ends(session, volume, here, pool)
    except Unavailable as error:
        return str(error)
    if source.driver != target.driver:
        return f"storage pool {pool.name} is on a {target.driver} host, the volume on a {source.driver} one"
    for host in (source, target):
        if host.state != "Up":
            return f"host {host.name} is {host.state}"
    return "" if pool.state == "Up" else f"storage pool {pool.name} is {pool.state}"


def refuse_move(session: Session, volume: Volume, pool: StoragePool) -> None:
    """Raise ParameterError, NoCapacity unless the volume could move to the pool now."""
    here = session.get(StoragePool, volume.pool_id) if volume.pool_id else None
    if pool.id == volume.pool_id:
        raise ParameterError(f"volume {volume.name} is in storage pool {pool.name} already")
    if words := _obstacle(session, volume, here, pool):
        raise ParameterError(words)
    require_room(session, pool, volume.size)


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


def _reserve(runtime: Runtime, vm_id: str | None, pools: Mapping[str, str]) -> list[Move]:
    with runtime.locks.hold("placement"), runtime.database.writing() as session:
        vm = session.get_one(Vm, vm_id) if vm_id else None
        if vm is not None and vm.state != VmState.stopped:
            raise InUse(f"VM {vm.name} is {vm.state} by now; its volumes move while it is Stopped")
        moves = []
        for volume_id, pool_id in sorted(pools.items()):
            volume, pool = session.get_one(Volume, volume_id), session.get_one(StoragePool, pool_id)
            if volume.vm_id != vm_id:
                raise InUse(f"volume {volume.name} was attached or detached meanwhile")
            if volume.target_pool_id != pool_id:
                refuse_move(session, volume, pool)
                volume.target_pool_id, volume.state = pool_id, VolumeState.migrating
                session.flush()
            moves.append(_move(session, volume))
        return moves


def _move(session: Session, volume: Volume) -> Move:
    here = session.get_one(StoragePool, volume.pool_id)
    there = session.get_one(StoragePool, volume.target_pool_id)
    source, target = _ends(session, volume, here, there)
    vm = session.get(Vm, volume.vm_id) if volume.vm_id else None
    return {
        "volume_id": volume.id,
        "source": source.id,
        "target": target.id,
        "from": host_pool(here),
        "to": host_pool(there),
        "home": vm.last_host_id if vm is not None else None,
    }


def _ends(session: Session, volume: Volume, here: StoragePool, there: StoragePool) -> tuple[Host, Host]:
    """The hosts that give and take a volume: one that reaches both pools, where there is one.

    Raises Unavailable when no host that is Up reaches a shared one.
    """
    vm = session.get(Vm, volume.vm_id) if volume.vm_id else None
    if there.host_id is not None:
        return host_for(session, here, there.host_id), session.get_one(Host, there.host_id)
    source = host_for(session, here, vm.last_host_id if vm is not None else None)
    return source, host_for(session, there, source.id)


def _has_all(runtime: Runtime, moves: list[Move], end: str) -> bool:
    """Whether the hosts at one end have a file of each volume; a file with a volume's name is a whole one."""
    there: dict[str, set[tuple[str, str]]] = {}
    pool = {"source": "from", "target": "to"}[end]
    for host_id in {move[end] for move in moves}:
        with runtime.database.reading() as session:
            host = session.get_one(Host, host_id)
        volumes = driver_of(runtime, host).all_volumes(host_endpoint(host))
        there[host_id] = {(volume.id, volume.pool) for volume in volumes}
    return all((move["volume_id"], move[pool]) in there[move[end]] for move in moves)


def _copy(runtime: Runtime, move: Move) -> None:
    with runtime.database.reading() as session:
        volume = session.get_one(Volume, move["volume_id"])
        source, target = session.get_one(Host, move["source"]), session.get_one(Host, move["target"])
        disk = disk_of(runtime, session, volume, is_arriving=True)
    copy = spec.VolumeFetch(
        volume=spec.Volume(id=disk.id, pool=disk.pool, bytes=disk.bytes, base=disk.base, serial=disk.serial),
        source=peer_of(runtime, source, volume.id),
        pool=move["from"],
        keep=volume.kind == VolumeKind.data,
    )
    driver, endpoint = driver_of(runtime, target), host_endpoint(target)
    # What an earlier move left here is old: it may not be taken for what is to come.
    if volume.vm_id is not None:
        driver.delete_domain(endpoint, volume.vm_id, keep_volumes=True)
    driver.delete_volume(endpoint, volume.id, move["to"])
    words = f"volume {volume.name} was not copied"
    until_done(runtime, lambda: driver.fetch_volume(endpoint, copy), words)


def _arrive(runtime: Runtime, vm_id: str | None, moves: list[Move]) -> None:
    with runtime.database.writing() as session:
        for move in moves:
            volume = session.get_one(Volume, move["volume_id"])
            volume.pool_id, volume.target_pool_id = volume.target_pool_id or volume.pool_id, None
            volume.state = VolumeState.ready
        if vm_id is not None:
            session.get_one(Vm, vm_id).last_host_id = moves[0]["target"]


def _leave(runtime: Runtime, vm_id: str | None, moves: list[Move]) -> None:
    """The old host forgets a VM whose volumes went; it is defined where they are when it starts."""
    with runtime.database.reading() as session:
        hosts = {host_id: session.get_one(Host, host_id) for host_id in {move["source"] for move in moves}}
        homes = {move["home"] for move in moves} - {None, *hosts}
    for host in hosts.values():
        if vm_id is not None:
            driver_of(runtime, host).delete_domain(host_endpoint(host), vm_id, keep_volumes=True)
    for host_id in homes:
        forget_vm(runtime, str(vm_id), host_id)
    for move in moves:
        host = hosts[move["source"]]
        driver_of(runtime, host).delete_volume(host_endpoint(host), move["volume_id"], move["from"])


def _stay(runtime: Runtime, vm_id: str | None, moves: list[Move]) -> None:
    """Undo: nothing is left where the volumes should have gone. Those that are there already stay there.

    The rows are free first: a host that does not answer keeps no volume from its owner, and what it has of
    it is found and removed once it answers (`mgmt.reconcile.tidy`).
    """
    with runtime.database.writing() as session:
        hosts = {move["target"]: session.get_one(Host, move["target"]) for move in moves}
        left = [move for move in moves if not _is_there(session, move)]
        for move in left:
            volume = session.get_one(Volume, move["volume_id"])
            volume.target_pool_id, volume.state = None, VolumeState.ready
    for move in left:
        host = hosts[move["target"]]
        driver_of(runtime, host).delete_volume(host_endpoint(host), move["volume_id"], move["to"])


def _is_there(session: Session, move: Move) -> bool:
    pool = session.get_one(StoragePool, session.get_one(Volume, move["volume_id"]).pool_id)
    return pool.host_id in (None, move["target"]) and host_pool(pool) == move["to"]
