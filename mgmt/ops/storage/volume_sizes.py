"""Volumes that grow: the row first, so that all documents compiled meanwhile say the same, then the file."""

from typing import Any

from sqlalchemy.orm import Session

from mgmt.alloc.limits import release, reserve
from mgmt.alloc.pools import host_of_volume, require_room
from mgmt.model.errors import ParameterError
from mgmt.model.resources import ResourceType
from mgmt.model.states import VolumeKind, VolumeState
from mgmt.ops.compute.domains import put_as_it_is
from mgmt.ops.endpoints import driver_of, host_endpoint
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga
from mgmt.ops.storage.volumes import make_file
from mgmt.store.tables import Account, StoragePool, Volume


def resize_volume(
    runtime: Runtime, saga: Saga, *, volume_id: str, size: int, offering_id: str | None = None
) -> None:
    """Grow a volume to `size` bytes, attached (also to a running VM) or not; give it another offering.

    On failure it has its old size and offering, unless its file grew all the same.
    """
    before: dict[str, Any] = saga.step("look at the volume", lambda: _look(runtime, volume_id))
    with runtime.locks.hold(f"vm:{before['vm_id']}" if before["vm_id"] else f"volume:{volume_id}"):
        saga.step(
            "give the volume its size",
            lambda: _set_size(runtime, volume_id, size, offering_id),
            undo=lambda _: _set_back(runtime, volume_id, before),
        )
        saga.step("grow the volume", lambda: _grow_file(runtime, volume_id))


def _look(runtime: Runtime, volume_id: str) -> dict[str, Any]:
    with runtime.database.reading() as session:
        volume = session.get_one(Volume, volume_id)
        return {"size": volume.size, "offering_id": volume.offering_id, "vm_id": volume.vm_id}


def _set_size(runtime: Runtime, volume_id: str, size: int, offering_id: str | None) -> None:
    with runtime.database.writing() as session:
        volume = session.get_one(Volume, volume_id)
        if size < volume.size:
            raise ParameterError(
                f"volume {volume.name} has {volume.size} bytes by now, and volumes never shrink"
            )
        more, volume.size = size - volume.size, size
        volume.offering_id = offering_id or volume.offering_id
        if more and volume.pool_id is not None:
            require_room(session, session.get_one(StoragePool, volume.pool_id), more)
        if more:
            reserve(session, _owner(session, volume), ResourceType.primary_storage, more)


def _set_back(runtime: Runtime, volume_id: str, before: dict[str, Any]) -> None:
    """A file that grew before its host's answer was lost cannot shrink: then the row stays with it."""
    there = _file_size(runtime, volume_id)
    with runtime.database.writing() as session:
        volume = session.get_one(Volume, volume_id)
        if there < volume.size:
            release(
                session, _owner(session, volume), ResourceType.primary_storage, volume.size - before["size"]
            )
            volume.size, volume.offering_id = before["size"], before["offering_id"]


def _owner(session: Session, volume: Volume) -> Account:
    session.flush()
    return session.get_one(Account, volume.account_id)


def _grow_file(runtime: Runtime, volume_id: str) -> None:
    """A volume that is a row only is made with its size later."""
    with runtime.database.reading() as session:
        volume = session.get_one(Volume, volume_id)
    if volume.pool_id is None or volume.state != VolumeState.ready:
        return
    # A root disk goes with its VM, so it is never put for itself, which would make it outlive it.
    if volume.kind == VolumeKind.data and volume.vm_id is None:
        make_file(runtime, volume_id)
    elif volume.vm_id is not None:
        put_as_it_is(runtime, volume.vm_id)


def _file_size(runtime: Runtime, volume_id: str) -> int:
    with runtime.database.reading() as session:
        volume = session.get_one(Volume, volume_id)
        host = host_of_volume(session, volume)
    if host is None:
        return 0
    files = driver_of(runtime, host).all_volumes(host_endpoint(host))
    return next((file.bytes for file in files if file.id == volume_id), 0)
