"""A host and pools for a VM that is about to start."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Row, bindparam, select
from sqlalchemy.orm import Session

from mgmt.alloc.affinity import affinity_of
from mgmt.alloc.control import linklocal_address
from mgmt.alloc.counted import set_vm_state
from mgmt.alloc.hosts import place
from mgmt.alloc.pools import place_volume, wish_of
from mgmt.alloc.room import Demand
from mgmt.alloc.sizes import size_of
from mgmt.model.errors import Unavailable
from mgmt.model.states import VmKind, VmState, VolumeState
from mgmt.ops.network.host_networks import spread_networks, tidy_host
from mgmt.ops.runtime import Runtime
from mgmt.store.tables import Nic, ServiceOffering, StoragePool, Vm, Volume
from systemvm.spec.types import Purpose

Disk = Row[Volume, str | None, str | None, str | None]
"""A volume of a VM, and of its pool, if it has one: host, name, state."""
_VOLUMES = select(Volume).where(Volume.vm_id == bindparam("vm_id"), Volume.removed.is_(None))
_DISKS = _VOLUMES.add_columns(StoragePool.host_id, StoragePool.name, StoragePool.state).outerjoin(
    StoragePool, StoragePool.id == Volume.pool_id
)


def place_vm(runtime: Runtime, vm_id: str, host_id: str | None = None, within: str = "") -> dict[str, Any]:
    """Give a VM its host, its volumes their pools, a system VM its link-local address; state Starting.

    A VM that is placed already stays where it is, so doing it twice is the same as once. Returns the
    host's id and name, and as `left` the host that has its definition from before, if that is another.
    Raises NoCapacity with every host's reason.
    """
    with runtime.database.writing() as session:
        vm = session.get_one(Vm, vm_id)
        _offering = session.get_one(ServiceOffering, vm.offering_id)  # held, so that it is read once
        disks = _disks_of(session, vm)
        _check_pools(vm, disks)
        demand = _demand(session, vm, disks, _tied_to(disks) or vm.host_id or host_id)
        if vm.host_id is not None:
            vm.host_id = None  # what it takes there is not in its own way
            session.flush()
        host = place(session, replace(demand, within=within))
        for volume, *_pool in disks:
            if volume.pool_id is None:
                volume.pool_id = place_volume(session, host.id, volume.size, wish_of(session, volume)).id
        vm.state = VmState.starting
        vm.reason = ""
        vm.desired_power = "running"
        if vm.kind != VmKind.user:
            _give_linklocal(session, vm, host.id)
        vm.host_id = host.id
        spread_networks(session, vm)
        left = vm.last_host_id if vm.last_host_id != host.id else None
        return {"host_id": host.id, "host": host.name, "left": left}


def unplace_vm(runtime: Runtime, vm_id: str, state: VmState, reason: str = "") -> None:
    """Take a VM from its host; it remembers which one it was. Volumes that were never made are unplaced."""
    with runtime.database.writing() as session:
        vm = session.get_one(Vm, vm_id)
        vm.last_host_id = vm.host_id or vm.last_host_id
        vm.host_id = None
        set_vm_state(session, vm, state)
        vm.desired_power = "stopped"
        vm.healthy = False
        vm.reason = reason or vm.reason
        left = vm.last_host_id
        for volume in session.scalars(_VOLUMES, {"vm_id": vm_id}):
            if volume.state not in (VolumeState.ready, VolumeState.migrating):
                volume.pool_id = None
    tidy_host(runtime, left)


def mark_volumes_ready(session: Session, vm_id: str) -> None:
    """Once a VM's host has them, all its volumes are files."""
    for volume in session.scalars(_VOLUMES, {"vm_id": vm_id}):
        volume.state = VolumeState.ready


def demand_of(session: Session, vm: Vm, host_id: str | None = None) -> Demand:
    """What a VM needs of a host; `host_id` is the only one that it may take."""
    return _demand(session, vm, _disks_of(session, vm), host_id)


def _demand(session: Session, vm: Vm, disks: Iterable[Disk], host_id: str | None) -> Demand:
    offering = session.get_one(ServiceOffering, vm.offering_id)
    size = size_of(vm, offering)
    is_guest = vm.kind == VmKind.user
    return Demand(
        zone_id=vm.zone_id,
        cpus=size.cpus,
        memory=size.memory,
        host_id=host_id,
        pools=tuple(sorted({v.pool_id for v, host_id, *_pool in disks if v.pool_id and host_id is None})),
        storage=frozenset(wish_of(session, v) for v, *_pool in disks if v.pool_id is None),
        before=vm.last_host_id,
        tags=tuple(offering.host_tags),
        account_id=vm.account_id if is_guest else None,
        domain_id=vm.domain_id if is_guest else None,
        affinity=affinity_of(session, vm.id),
    )


def _check_pools(vm: Vm, disks: Iterable[Disk]) -> None:
    """Raise Unavailable if a disk of the VM is in a pool that is out of service, or on its way to another."""
    for volume, _host_id, pool, state in disks:
        words = f"volume {volume.name} of VM {vm.name} is"
        if volume.state == VolumeState.migrating:
            raise Unavailable(f"{words} Migrating: start the VM when that has ended")
        if state == "Maintenance":
            raise Unavailable(f"{words} in storage pool {pool}, which is in {state}")


def tied_to(session: Session, vm: Vm) -> str | None:
    """The host that alone reaches volumes of the VM."""
    return _tied_to(_disks_of(session, vm))


def _tied_to(disks: Iterable[Disk]) -> str | None:
    return next((host_id for _volume, host_id, _pool, _state in disks if host_id), None)


def _disks_of(session: Session, vm: Vm) -> Sequence[Disk]:
    return session.execute(_DISKS, {"vm_id": vm.id}).all()


def _give_linklocal(session: Session, vm: Vm, host_id: str) -> None:
    vm.linklocal_address = linklocal_address(session, host_id)
    nic = session.scalar(
        select(Nic).where(Nic.vm_id == vm.id, Nic.purpose == Purpose.linklocal, Nic.removed.is_(None))
    )
    if nic is not None:
        nic.address = vm.linklocal_address
