"""Reinstallation: a VM gets a fresh root disk; the old one stays until the new one works."""

from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from mgmt.alloc.limits import count_all
from mgmt.alloc.pools import host_of_volume
from mgmt.model.errors import ParameterError
from mgmt.model.resources import ResourceType
from mgmt.model.states import VmState, VolumeKind, VolumeState
from mgmt.ops.compute.domains import put_vm
from mgmt.ops.compute.placement import mark_volumes_ready, unplace_vm
from mgmt.ops.compute.states import change_vm
from mgmt.ops.compute.vm_workflows import bring_up, fail_start, power_off, push_networks, run_again
from mgmt.ops.endpoints import driver_of, host_endpoint, patiently
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga
from mgmt.store.tables import Account, Host, Template, Vm, Volume
from mgmt.store.tables.base import now


def fresh_root_size(session: Session, vm: Vm, template: Template, size: int) -> int:
    """How many bytes more than now the VM's root disk would have; less than 0 for fewer.

    Raises ParameterError for a VM without a root disk.
    """
    old = session.scalar(_roots(vm.id))
    if old is None:
        raise ParameterError(f"VM {vm.name} has no root disk: destroy it and deploy another")
    return max(size or old.size, template.virtual_size) - old.size


def restore_vm(
    runtime: Runtime, saga: Saga, *, vm_id: str, template_id: str, size: int, volume_id: str
) -> None:
    """Stop the VM, swap its root disk for a fresh one (`volume_id`), start it again if it ran.

    On failure it has its old root disk, and runs if it ran.
    """
    before: dict[str, Any] = saga.step("look at the VM", lambda: _look(runtime, vm_id))
    if before["is_running"]:
        saga.on_failure("stop the VM", lambda: run_again(runtime, vm_id, before["host_id"]))
        saga.step("stop the VM on its host", lambda: power_off(runtime, vm_id, True))
        saga.step("take the VM from its host", lambda: unplace_vm(runtime, vm_id, VmState.stopped))
    saga.step(
        "give the VM a fresh root disk",
        lambda: _swap(runtime, vm_id, template_id, size, volume_id, before["root_id"]),
        undo=lambda _: _swap_back(runtime, vm_id, before["template_id"], volume_id, before["root_id"]),
    )
    if before["is_running"]:
        saga.on_failure("start the VM", lambda: fail_start(runtime, vm_id))
        bring_up(runtime, saga, vm_id, before["host_id"])
    else:
        push_networks(runtime, saga, vm_id)
        if before["is_on_host"]:
            saga.step("make the root disk", lambda: _make(runtime, vm_id, before["host_id"]))
    saga.step("remove the old root disk", lambda: _remove(runtime, before["root_id"]))


def _look(runtime: Runtime, vm_id: str) -> dict[str, Any]:
    """What the VM was; `is_on_host` if a host has a definition of it, which names the root disk."""
    with runtime.database.reading() as session:
        vm = session.get_one(Vm, vm_id)
        root = session.scalars(_roots(vm_id)).one()
        host_id = vm.host_id or vm.last_host_id
        host = session.get(Host, host_id) if host_id else None
        known = host and driver_of(runtime, host).domain_status(host_endpoint(host), vm_id)
        return {
            "is_running": vm.state == VmState.running,
            "host_id": host_id,
            "is_on_host": known is not None,
            "root_id": root.id,
            "template_id": vm.template_id,
        }


def _roots(vm_id: str) -> Select[Volume]:
    return select(Volume).where(
        Volume.vm_id == vm_id, Volume.kind == VolumeKind.root, Volume.removed.is_(None)
    )


def _swap(runtime: Runtime, vm_id: str, template_id: str, size: int, volume_id: str, old_id: str) -> None:
    with runtime.database.writing() as session:
        if session.get(Volume, volume_id) is not None:
            return
        vm, old = session.get_one(Vm, vm_id), session.get_one(Volume, old_id)
        template = session.get_one(Template, template_id)
        fresh = Volume(
            id=volume_id,
            account_id=vm.account_id,
            domain_id=vm.domain_id,
            zone_id=vm.zone_id,
            vm_id=vm_id,
            pool_id=old.pool_id,
            template_id=template_id,
            name=old.name,
            kind=VolumeKind.root,
            size=max(size or old.size, template.virtual_size),
            device=0,
        )
        session.add(fresh)
        old.vm_id, old.device = None, None
        vm.template_id = template_id
        _count(session, vm, fresh.size - old.size)


def _swap_back(runtime: Runtime, vm_id: str, template_id: str | None, volume_id: str, old_id: str) -> None:
    """The old root disk again; a fresh one that a host has made already is removed there."""
    with runtime.database.writing() as session:
        vm, old = session.get_one(Vm, vm_id), session.get_one(Volume, old_id)
        fresh = session.get_one(Volume, volume_id)
        if fresh.removed is None:
            _count(session, vm, old.size - fresh.size)
        fresh.vm_id, fresh.device = None, None
        fresh.removed, fresh.state = now(), VolumeState.destroy
        old.vm_id, old.device = vm_id, 0
        vm.template_id = template_id
        host_id = vm.host_id or vm.last_host_id
        host = session.get(Host, host_id) if host_id else None
    if host is None or driver_of(runtime, host).domain_status(host_endpoint(host), vm_id) is None:
        return
    put_vm(runtime, vm_id, "stopped", force=True, host_id=host.id)
    driver_of(runtime, host).delete_volume(host_endpoint(host), volume_id)


def _make(runtime: Runtime, vm_id: str, host_id: str) -> None:
    put_vm(runtime, vm_id, "stopped", host_id=host_id)
    with runtime.database.writing() as session:
        mark_volumes_ready(session, vm_id)
        change_vm(session, vm_id, last_host_id=host_id)


def _remove(runtime: Runtime, volume_id: str) -> None:
    with runtime.database.reading() as session:
        volume = session.get_one(Volume, volume_id)
        host = host_of_volume(session, volume)
    if host is not None:
        patiently(runtime, lambda: driver_of(runtime, host).delete_volume(host_endpoint(host), volume_id))
    with runtime.database.writing() as session:
        volume = session.get_one(Volume, volume_id)
        volume.removed, volume.state = now(), VolumeState.destroy


def _count(session: Session, vm: Vm, more: int) -> None:
    """Count the difference of the disks' sizes; that the limit allows it was asked before."""
    session.flush()
    count_all(session, session.get_one(Account, vm.account_id), {ResourceType.primary_storage: more})
