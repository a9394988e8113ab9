"""Data volumes: rows until they are attached for the first time, then files in a pool of the VM's host."""

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from mgmt.alloc.counted import release_volumes
from mgmt.alloc.pools import host_of_volume, is_reached_from, place_volume, wish_of
from mgmt.model.errors import InUse, ParameterError, Unavailable
from mgmt.model.states import VmState, VolumeKind, VolumeState
from mgmt.ops.compute.domains import disk_of, host_pool, put_as_it_is
from mgmt.ops.endpoints import driver_of, host_endpoint, patiently
from mgmt.ops.images.templates import push_storage_if_running
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga
from mgmt.ops.storage.exports import forget_exports
from mgmt.ops.storage.uploads import forget_upload
from mgmt.store.tables import Host, StoragePool, Vm, Volume, VolumeExport, VolumeUpload
from mgmt.store.tables.base import now
from systemvm.spec import host as spec

#: Seconds that making a file may take, its content pulled first; and between two looks.
DEADLINE, _POLL = 6 * 3600.0, 1.0
#: Disks that a VM may have (vda to vdx; vdz is the config disk's).
MOST_DISKS = 24
_UNMADE = select(Volume.id).where(
    Volume.vm_id == bindparam("vm_id"),
    Volume.removed.is_(None),
    Volume.kind == VolumeKind.data,
    Volume.state != VolumeState.ready,
)


def create_volume(runtime: Runtime, saga: Saga, *, volume_id: str, vm_id: str | None = None) -> None:
    """A volume is a row until it is attached; with `vm_id` that is at once."""
    if vm_id is not None:
        attach_volume(runtime, saga, volume_id=volume_id, vm_id=vm_id)


def attach_volume(
    runtime: Runtime, saga: Saga, *, volume_id: str, vm_id: str, device: int | None = None
) -> None:
    """Give a volume to a VM; plugged in at once if the VM runs, made when it starts otherwise."""
    with runtime.locks.hold(f"vm:{vm_id}"):
        saga.step(
            "attach the volume",
            lambda: _attach(runtime, volume_id, vm_id, device),
            undo=lambda was_new: _detach(runtime, volume_id, forget_pool=was_new),
        )
        is_running: bool = saga.step("look at the VM", lambda: _is_running(runtime, vm_id))
        if not is_running:
            return
        saga.step("make the volume", lambda: make_file(runtime, volume_id))
        saga.step("plug the volume in", lambda: put_as_it_is(runtime, vm_id))


def detach_volume(runtime: Runtime, saga: Saga, *, volume_id: str) -> None:
    """Take a volume from its VM; its data stays in its pool."""
    vm_id, device = saga.step("look at the volume", lambda: _attachment(runtime, volume_id))
    if vm_id is None:
        return
    with runtime.locks.hold(f"vm:{vm_id}"):
        saga.step(
            "detach the volume",
            lambda: _detach(runtime, volume_id),
            undo=lambda _: _restore(runtime, volume_id, vm_id, device),
        )
        if saga.step("look at the VM", lambda: _has_domain(runtime, vm_id)):
            saga.step("unplug the volume", lambda: put_as_it_is(runtime, vm_id))


def delete_volume(runtime: Runtime, saga: Saga, *, volume_id: str) -> None:
    """Remove a volume that no VM has, for good."""
    saga.step("remove the volume from its pool", lambda: _remove_file(runtime, volume_id))
    zone_id: str = saga.step("look what the storage VM has of it", lambda: _kept_in(runtime, volume_id))
    saga.step("remove the volume", lambda: _remove_row(runtime, volume_id))
    if zone_id:
        saga.step("configure the storage VM", lambda: push_storage_if_running(runtime, zone_id))


def _attach(runtime: Runtime, volume_id: str, vm_id: str, device: int | None) -> bool:
    """Whether the volume had no pool before."""
    with runtime.database.writing() as session:
        volume, vm = session.get_one(Volume, volume_id), session.get_one(Vm, vm_id)
        if volume.vm_id not in (None, vm_id):
            raise InUse(f"volume {volume.name} is attached to another VM: detach it first")
        was_new = volume.state != VolumeState.ready
        if volume.vm_id is None:
            volume.device = _device(session, vm, device)
            volume.vm_id = vm_id
        _choose_pool(session, volume, vm)
        return was_new


def _choose_pool(session: Session, volume: Volume, vm: Vm) -> None:
    host_id = vm.host_id or vm.last_host_id
    pool = session.get(StoragePool, volume.pool_id) if volume.pool_id else None
    if host_id is None:
        return
    if pool is None:
        volume.pool_id = place_volume(session, host_id, volume.size, wish_of(session, volume)).id
    elif not session.scalar(select(is_reached_from(host_id)).where(StoragePool.id == pool.id)):
        _refuse(session, volume, pool, vm)


def _refuse(session: Session, volume: Volume, pool: StoragePool, vm: Vm) -> None:
    if pool.host_id is not None:
        host = session.get_one(Host, pool.host_id)
        raise ParameterError(
            f"volume {volume.name} is on host {host.name}, VM {vm.name} is not: migrateVolume moves it"
        )
    raise ParameterError(
        f"volume {volume.name} is in storage pool {pool.name}, which the host of VM {vm.name} does not reach"
    )


def _device(session: Session, vm: Vm, wanted: int | None) -> int:
    query = select(Volume.device).where(Volume.vm_id == vm.id, Volume.removed.is_(None))
    taken = {device for device in session.scalars(query) if device is not None}
    if wanted is not None and wanted in taken:
        raise ParameterError(f"device {wanted} of VM {vm.name} is taken: choose another")
    free = next((number for number in range(1, MOST_DISKS) if number not in taken), None)
    if free is None:
        raise ParameterError(f"VM {vm.name} has {len(taken)} disks, which is the most")
    return free if wanted is None else wanted


def _detach(runtime: Runtime, volume_id: str, *, forget_pool: bool = False) -> None:
    with runtime.database.writing() as session:
        volume = session.get_one(Volume, volume_id)
        vm_id = volume.vm_id
        volume.vm_id, volume.device = None, None
        if forget_pool and volume.state != VolumeState.ready:
            volume.pool_id = None
    if forget_pool and vm_id is not None and _is_running(runtime, vm_id):
        put_as_it_is(runtime, vm_id)


def _restore(runtime: Runtime, volume_id: str, vm_id: str, device: int | None) -> None:
    with runtime.database.writing() as session:
        volume = session.get_one(Volume, volume_id)
        volume.vm_id, volume.device = vm_id, device


def _attachment(runtime: Runtime, volume_id: str) -> tuple[str | None, int | None]:
    with runtime.database.reading() as session:
        volume = session.get_one(Volume, volume_id)
        if volume.device == 0:
            raise ParameterError(f"volume {volume.name} is a root disk, which cannot be detached")
        return volume.vm_id, volume.device


def _is_running(runtime: Runtime, vm_id: str) -> bool:
    with runtime.database.reading() as session:
        return session.get_one(Vm, vm_id).state == VmState.running


def _has_domain(runtime: Runtime, vm_id: str) -> bool:
    """Whether a host has a definition of the VM that holds the volume."""
    with runtime.database.reading() as session:
        vm = session.get_one(Vm, vm_id)
        return (vm.host_id or vm.last_host_id) is not None


def make_file(runtime: Runtime, volume_id: str) -> None:
    """The file, marked by the host as one that outlives its VMs."""
    put_file(runtime, volume_id)
    with runtime.database.writing() as session:
        volume = session.get_one(Volume, volume_id)
        volume.state = VolumeState.ready
        was_kept = forget_upload(session, volume)
    if was_kept:
        push_storage_if_running(runtime, volume.zone_id)


def put_file(runtime: Runtime, volume_id: str, replace_by: spec.TemplatePull | None = None) -> None:
    """Make or grow a volume's file, or make it anew; waits until it is so. Raises AgentError, Unavailable."""
    with runtime.database.reading() as session:
        volume = session.get_one(Volume, volume_id)
        host = host_of_volume(session, volume)
        if host is None:
            raise Unavailable(f"volume {volume.name} is in no pool yet")
        disk = disk_of(runtime, session, volume)
    base, replace = replace_by or disk.base, replace_by is not None
    document = spec.Volume(id=disk.id, pool=disk.pool, bytes=disk.bytes, base=base, serial=disk.serial)
    driver, endpoint, waited = driver_of(runtime, host), host_endpoint(host), 0.0
    while (made := driver.put_volume(endpoint, document, replace=replace)).preparing:
        if waited >= DEADLINE:
            raise Unavailable(f"volume {volume.name} on host {host.name}: still {made.preparing}")
        runtime.sleep(_POLL)
        waited += _POLL


def make_data_files(runtime: Runtime, vm_id: str) -> None:
    """Make the data volumes of a VM that are rows only, so that its host keeps them when the VM goes."""
    with runtime.database.reading() as session:
        volume_ids = list(session.scalars(_UNMADE, {"vm_id": vm_id}))
    for volume_id in volume_ids:
        make_file(runtime, volume_id)


def _remove_file(runtime: Runtime, volume_id: str) -> None:
    with runtime.database.reading() as session:
        volume = session.get_one(Volume, volume_id)
        if volume.vm_id is not None:
            raise InUse(f"volume {volume.name} is attached to a VM: detach it first")
    remove_file(runtime, volume_id)


def remove_file(runtime: Runtime, volume_id: str) -> None:
    """Remove a volume's file, which no host may have in a VM; gone already is fine. Raises AgentError."""
    with runtime.database.reading() as session:
        volume = session.get_one(Volume, volume_id)
        host = host_of_volume(session, volume)
        pool = host_pool(session.get_one(StoragePool, volume.pool_id)) if volume.pool_id else ""
    if host is not None:
        driver, endpoint = driver_of(runtime, host), host_endpoint(host)
        patiently(runtime, lambda: driver.delete_volume(endpoint, volume_id, pool))


def _kept_in(runtime: Runtime, volume_id: str) -> str:
    """The zone whose storage VM has something of it; empty if none has."""
    with runtime.database.reading() as session:
        volume = session.get_one(Volume, volume_id)
        exports = select(VolumeExport.id).where(
            VolumeExport.volume_id == volume_id, VolumeExport.removed.is_(None)
        )
        is_kept = session.get(VolumeUpload, volume_id) or session.scalar(exports.limit(1))
        return volume.zone_id if is_kept else ""


def _remove_row(runtime: Runtime, volume_id: str) -> None:
    with runtime.database.writing() as session:
        volume = session.get_one(Volume, volume_id)
        if volume.removed is None:
            forget_upload(session, volume)
            forget_exports(session, volume.id)
            release_volumes(session, volume)
            volume.removed, volume.state = now(), VolumeState.destroy
