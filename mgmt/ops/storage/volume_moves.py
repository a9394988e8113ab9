"""Volumes that move to another pool while no VM runs with them: detached ones, or those of a stopped VM.

The pools may be on two hosts, on one, or shared. A host fetches from a host, or from itself; while it does,
a volume may be in two pools of one host, so every word about a file names its pool.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.model.errors import CloudError, InUse
from mgmt.model.states import VmState, VolumeKind, VolumeState
from mgmt.ops.compute.domains import disk_of, forget_vm, host_pool
from mgmt.ops.compute.peers import peer_of, until_done
from mgmt.ops.endpoints import driver_of, host_endpoint
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga
from mgmt.ops.storage import running_moves
from mgmt.ops.storage.move_checks import ends_of, take_room
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

    One that moved while its VM ran is where the VM has it. Of others the old host is asked first: it loses
    its files only after the rows say that the new ones count. Raises CloudError when neither host has them
    all, and touches nothing then; AgentError when one does not answer.
    """
    if vm_id is not None and running_moves.settle(runtime, vm_id):
        return
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


def _reserve(runtime: Runtime, vm_id: str | None, pools: Mapping[str, str]) -> list[Move]:
    with runtime.database.writing() as session:
        vm = session.get_one(Vm, vm_id) if vm_id else None
        if vm is not None and vm.state != VmState.stopped:
            raise InUse(f"VM {vm.name} is {vm.state} by now; its volumes move while it is Stopped")
        return [_move(session, volume) for volume in take_room(session, vm_id, pools)]


def _move(session: Session, volume: Volume) -> Move:
    here = session.get_one(StoragePool, volume.pool_id)
    there = session.get_one(StoragePool, volume.target_pool_id)
    source, target = ends_of(session, volume, here, there)
    vm = session.get(Vm, volume.vm_id) if volume.vm_id else None
    return {
        "volume_id": volume.id,
        "source": source.id,
        "target": target.id,
        "from": host_pool(here),
        "to": host_pool(there),
        "home": vm.last_host_id if vm is not None else None,
    }


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
