"""Volumes of a running VM that move to other pools which its host reaches, while the guest goes on.

The host copies; at one moment the VM's definition there names the new file, and that is what counts: rows
follow it, whoever died meanwhile. So who undoes a move asks the host first.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.agents.errors import AgentConflict
from mgmt.drivers.protocol import Driver
from mgmt.model.errors import CloudError, InUse, Unavailable
from mgmt.model.states import VmState, VolumeKind, VolumeState
from mgmt.ops.compute.domains import disk_of, has_failed, host_pool
from mgmt.ops.compute.peers import peer_of
from mgmt.ops.endpoints import driver_of, host_endpoint, patiently
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga
from mgmt.ops.storage.move_checks import take_room
from mgmt.store.tables import Host, StoragePool, Vm, Volume
from systemvm.spec import host as spec

#: Seconds that the copy of one disk may take: a terabyte does, on disks as slow as any still in use.
DEADLINE = 6 * 3600.0
_POLL = 1.0

Move = dict[str, Any]
"""`volume_id`, its `name`, `vm_id`, the VM's `host`, and what that calls the pools (`from`, `to`)."""


def move_running_volumes(runtime: Runtime, saga: Saga, *, vm_id: str, pools: Mapping[str, str]) -> None:
    """Move volumes of a running VM; `pools` maps them to pools that its host reaches."""
    with runtime.locks.hold(f"vm:{vm_id}"):
        moves: list[Move] = saga.step(
            "take room in the pools",
            lambda: _reserve(runtime, vm_id, pools),
            undo=lambda moves: _end_all(runtime, moves),
        )
        for move in moves:
            saga.step("copy a volume while its VM runs", lambda move=move: _copy(runtime, move, saga.tell))  # type: ignore[misc]
            saga.step("note where the volume is", lambda move=move: _arrive(runtime, move))  # type: ignore[misc]
            saga.step("remove the volume from its old pool", lambda move=move: _leave(runtime, move))  # type: ignore[misc]


def settle(runtime: Runtime, vm_id: str) -> bool:
    """End the moves of a VM's volumes that no job ends. Whether all were moves of this kind.

    Those of a VM that is off may be of the other kind; that the VM has the new file is enough to know.
    Raises AgentError while the host does not answer.
    """
    with runtime.database.reading() as session:
        vm = session.get_one(Vm, vm_id)
        home = session.get(Host, vm.host_id or vm.last_host_id or "")
        its = select(Volume).where(
            Volume.vm_id == vm_id, Volume.state == VolumeState.migrating, Volume.removed.is_(None)
        )
        moving = session.scalars(its.order_by(Volume.id)).all()
        if home is None or not all(_is_near(session, volume, home) for volume in moving):
            return False
        moves = [_move(session, volume, home.id) for volume in moving]
    ended = [move for move in moves if vm.host_id is not None or _has_arrived(runtime, move)]
    _end_all(runtime, ended)
    return bool(moves) and ended == moves


def _is_near(session: Session, volume: Volume, home: Host) -> bool:
    """Whether a volume goes to no pool of another host."""
    return session.get_one(StoragePool, volume.target_pool_id).host_id in (None, home.id)


def _reserve(runtime: Runtime, vm_id: str, pools: Mapping[str, str]) -> list[Move]:
    with runtime.database.writing() as session:
        vm = session.get_one(Vm, vm_id)
        if vm.state != VmState.running or vm.host_id is None:
            raise InUse(f"VM {vm.name} is {vm.state} by now; ask again")
        return [_move(session, volume, vm.host_id) for volume in take_room(session, vm_id, pools)]


def _move(session: Session, volume: Volume, host_id: str) -> Move:
    here, there = (session.get_one(StoragePool, key) for key in (volume.pool_id, volume.target_pool_id))
    return {
        "volume_id": volume.id,
        "name": volume.name,
        "vm_id": volume.vm_id,
        "host": host_id,
        "from": host_pool(here),
        "to": host_pool(there),
    }


def _host(runtime: Runtime, move: Move) -> Host:
    with runtime.database.reading() as session:
        return session.get_one(Host, move["host"])


def _copy(runtime: Runtime, move: Move, tell: Callable[[str], None]) -> None:
    """Have the host do it, and wait. Raises AgentError, CloudError with the host's words."""
    host = _host(runtime, move)
    driver, endpoint, waited = driver_of(runtime, host), host_endpoint(host), 0.0
    status = _ask(runtime, driver, host, move)
    while status is not None and not has_failed(status):
        if status.state != "preparing" and _has_arrived(runtime, move):
            return
        if waited >= DEADLINE:
            raise Unavailable(f"volume {move['name']} was not copied within {DEADLINE:.0f} s")
        tell(status.reason if status.state == "preparing" else "asking the host again")
        runtime.sleep(_POLL)
        waited += _POLL
        if status.state == "preparing":
            status = patiently(runtime, lambda: driver.domain_status(endpoint, move["vm_id"]))
        else:  # an agent that started meanwhile knows of no move
            status = _ask(runtime, driver, host, move)
    words = status.reason if status is not None else f"host {host.name} has no such VM any more"
    raise CloudError(f"volume {move['name']} was not copied: {words}")


def _ask(runtime: Runtime, driver: Driver, host: Host, move: Move) -> spec.DomainStatus | None:
    with runtime.database.reading() as session:
        volume = session.get_one(Volume, move["volume_id"])
        disk = disk_of(runtime, session, volume, is_arriving=True)
    copy = spec.VolumeFetch(
        volume=spec.Volume(id=disk.id, pool=disk.pool, bytes=disk.bytes, base=disk.base, serial=disk.serial),
        source=peer_of(runtime, host, volume.id),
        pool=move["from"],
        keep=volume.kind == VolumeKind.data,
    )
    return patiently(runtime, lambda: driver.move_disk(host_endpoint(host), move["vm_id"], copy))


def _has_arrived(runtime: Runtime, move: Move) -> bool:
    """Whether the VM has the file in the new pool, running or by its definition. Raises AgentError."""
    host = _host(runtime, move)
    there = patiently(runtime, lambda: driver_of(runtime, host).all_volumes(host_endpoint(host)))
    wanted = (move["volume_id"], move["to"], move["vm_id"])
    return wanted in {(volume.id, volume.pool, volume.domain) for volume in there}


def _arrive(runtime: Runtime, move: Move) -> None:
    with runtime.database.writing() as session:
        volume = session.get_one(Volume, move["volume_id"])
        volume.pool_id, volume.target_pool_id = volume.target_pool_id or volume.pool_id, None
        volume.state = VolumeState.ready


def _leave(runtime: Runtime, move: Move) -> None:
    host = _host(runtime, move)
    driver, endpoint = driver_of(runtime, host), host_endpoint(host)
    patiently(runtime, lambda: driver.delete_volume(endpoint, move["volume_id"], move["from"]))


def _end_all(runtime: Runtime, moves: Sequence[Move]) -> None:
    for move in moves:
        _end(runtime, move)


def _end(runtime: Runtime, move: Move) -> None:
    """Undo, unless the VM has the new file by now: then that stays. Raises AgentError while nobody knows."""
    with runtime.database.reading() as session:
        if session.get_one(Volume, move["volume_id"]).target_pool_id is None:
            return
    host = _host(runtime, move)
    driver, endpoint = driver_of(runtime, host), host_endpoint(host)
    try:
        # The host ends its copy with that, and refuses to remove what the VM has.
        patiently(runtime, lambda: driver.delete_volume(endpoint, move["volume_id"], move["to"]))
    except AgentConflict:
        if not _has_arrived(runtime, move):
            raise
        _arrive(runtime, move)
        _leave(runtime, move)
        return
    with runtime.database.writing() as session:
        volume = session.get_one(Volume, move["volume_id"])
        volume.target_pool_id, volume.state = None, VolumeState.ready
