"""What happens to tenants' VMs: deploy, start, stop, reboot, destroy, expunge."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import delete, select

from mgmt.alloc.counted import release_volumes
from mgmt.model.errors import ParameterError
from mgmt.model.states import RuleState, VmState, VolumeKind, VolumeState
from mgmt.ops.compute.domains import forget_vm, put_vm, remove_vm
from mgmt.ops.compute.placement import mark_volumes_ready, place_vm, unplace_vm
from mgmt.ops.compute.states import change_vm, read_vm, set_vm
from mgmt.ops.compute.vm_snapshots import drop_all
from mgmt.ops.compute.vms import network_ids
from mgmt.ops.machines.documents import push_noted, push_router, touch_router
from mgmt.ops.machines.system_vms import put_down
from mgmt.ops.network.host_networks import prepare_networks
from mgmt.ops.network.networks import ensure_network, networks_and_lacks
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Part, Saga
from mgmt.ops.storage.volumes import delete_volume, detach_volume, make_data_files, remove_file
from mgmt.store.tables import (
    AffinityMember,
    BalancerMember,
    FirewallRule,
    Nic,
    NicAddress,
    PortForwardingRule,
    PublicAddress,
    StoragePool,
    Vm,
    Volume,
)
from mgmt.store.tables.base import now


def deploy_vm(
    runtime: Runtime,
    saga: Saga,
    *,
    vm_id: str,
    start: bool = True,
    host_id: str | None = None,
    within: str = "",
) -> None:
    """First start of a VM; on failure it is in state Error with the reason, and nothing of it on a host."""
    if not start:
        return
    saga.on_failure("deploy the VM", lambda: _fail_deploy(runtime, vm_id))
    bring_up(runtime, saga, vm_id, host_id, is_new=True, within=within)


def start_vm(
    runtime: Runtime, saga: Saga, *, vm_id: str, host_id: str | None = None, within: str = ""
) -> None:
    """Start a stopped VM; on failure it is stopped again."""
    saga.on_failure("start the VM", lambda: fail_start(runtime, vm_id))
    bring_up(runtime, saga, vm_id, host_id, within=within)


def stop_vm(runtime: Runtime, saga: Saga, *, vm_id: str, forced: bool = False) -> None:
    """Stop a running VM, by its power button, or by pulling the plug; on failure it still runs.

    One that is on no host, and that the loop would try to start again, is left in peace from now on.
    """
    saga.on_failure("stop the VM", lambda: _fail_stop(runtime, vm_id))
    saga.step("stop the VM on its host", lambda: power_off(runtime, vm_id, forced))
    saga.step("take the VM from its host", lambda: unplace_vm(runtime, vm_id, VmState.stopped))


def reboot_vm(runtime: Runtime, saga: Saga, *, vm_id: str) -> None:
    """Power-cycle a running VM."""
    reboots: int = saga.step("count the reboot", lambda: read_vm(runtime, vm_id).reboots + 1)
    saga.step("reboot the VM", lambda: _reboot(runtime, vm_id, reboots))


def destroy_vm(
    runtime: Runtime,
    saga: Saga,
    *,
    vm_id: str,
    expunge: bool = False,
    volume_ids: tuple[str, ...] | list[str] = (),
) -> None:
    """Stop a VM at once and mark it as destroyed; with `expunge` remove it for good. `volume_ids` are data
    volumes of it that are removed for good either way."""
    saga.step("stop the VM on its host", lambda: power_off(runtime, vm_id, True))
    saga.step("mark the VM as destroyed", lambda: unplace_vm(runtime, vm_id, VmState.destroyed))
    if expunge:
        expunge_vm(runtime, saga, vm_id=vm_id)
    for volume_id in volume_ids:
        if not expunge:
            detach_volume(runtime, saga, volume_id=volume_id)
        delete_volume(runtime, saga, volume_id=volume_id)


def expunge_vm(runtime: Runtime, saga: Saga, *, vm_id: str) -> None:
    """Remove a destroyed VM for good: files, addresses, the rules that point at it."""
    saga.step(
        "check that the VM is down",
        lambda: _start_expunging(runtime, vm_id),
        undo=lambda before: set_vm(runtime, vm_id, state=before),
    )
    saga.step("remove the VM from its host", lambda: _remove_from_host(runtime, vm_id))
    networks: list[str] = saga.step("look at the VM's networks", lambda: networks_of(runtime, vm_id))
    saga.step("remove its addresses and rules", lambda: _remove_rows(runtime, vm_id))
    for network_id in networks:
        saga.step("configure the router", lambda network_id=network_id: push_router(runtime, network_id))  # type: ignore[misc]


def refresh_guest(runtime: Runtime, saga: Saga, *, vm_id: str) -> None:
    """Tell the routers of a VM what changed about it: its password, its keys, its addresses."""
    push_networks(runtime, saga, vm_id)


def push_networks(runtime: Runtime, saga: Saga, vm_id: str) -> None:
    """Steps that bring the routers of a VM's networks up to date."""
    for network_id in saga.step("look at the VM's networks", lambda: networks_of(runtime, vm_id)):
        saga.step(
            "tell the router about the VM",
            lambda network_id=network_id: push_change(runtime, network_id),  # type: ignore[misc]
        )


def networks_of(runtime: Runtime, vm_id: str) -> list[str]:
    """Ids of the networks that a VM is plugged into."""
    with runtime.database.reading() as session:
        return network_ids(session, vm_id)


def push_change(runtime: Runtime, network_id: str) -> None:
    """Number the network's document anew and bring its router up to date."""
    with runtime.database.writing() as session:
        generation = touch_router(session, network_id)
    push_router(runtime, network_id, generation)


def bring_up(
    runtime: Runtime,
    saga: Saga,
    vm_id: str,
    host_id: str | None,
    *,
    is_new: bool = False,
    within: str = "",
) -> None:
    """Steps that start a VM, on `host_id`, or in a pod or cluster, if that is given. Of one that is new its
    routers know already.

    It is one step where all its networks work.
    """
    placed: dict[str, Any] = {}

    def parts() -> Iterator[Part]:
        yield "choose a host", lambda: placed.update(_place(runtime, vm_id, host_id, within, is_new=is_new))
        if placed["left"] is not None:
            yield "take the VM from the host that had it", lambda: forget_vm(runtime, vm_id, placed["left"])
        if not placed["not_working"]:
            yield from _start_parts(runtime, vm_id, placed)

    found = saga.together("choose a host, and start the VM there", parts(), lambda: placed)
    if not found["not_working"]:
        return
    for network_id in found["not_working"]:
        ensure_network(runtime, saga, network_id)
    saga.together(f"start the VM on host {found['host']}", _start_parts(runtime, vm_id, found), lambda: None)


def _start_parts(runtime: Runtime, vm_id: str, placed: dict[str, Any]) -> Iterator[Part]:
    host, networks = placed["host"], placed["networks"]
    prepare = f"prepare the networks of host {host}"
    yield prepare, lambda: prepare_networks(runtime, placed["host_id"], networks)
    yield "tell the router about the VM", lambda: _introduce(runtime, networks)
    yield f"start the VM on host {host}", lambda: _power_on(runtime, vm_id)


def _place(runtime: Runtime, vm_id: str, host_id: str | None, within: str, *, is_new: bool) -> dict[str, Any]:
    """The host, the VM's networks, and those of them that have no working router yet."""
    placed = place_vm(runtime, vm_id, host_id, within)
    if not is_new:  # its password, keys or user data may have changed while it was stopped
        _touch(runtime, networks_of(runtime, vm_id))
    return {**placed, **networks_and_lacks(runtime, vm_id)}


def _touch(runtime: Runtime, networks: list[str]) -> None:
    with runtime.database.writing() as session:
        for network_id in networks:
            touch_router(session, network_id)


def _introduce(runtime: Runtime, networks: list[str]) -> None:
    """See that the routers have what was noted for them up to now, the VM's rows among it."""
    for network_id in networks:
        push_noted(runtime, network_id)


def _power_on(runtime: Runtime, vm_id: str) -> None:
    make_data_files(runtime, vm_id)
    put_vm(runtime, vm_id, "running")
    with runtime.database.writing(is_awaited=False) as session:  # the record of the step is awaited
        vm = session.get_one(Vm, vm_id)  # held, so that it is read once
        mark_volumes_ready(session, vm_id)
        change_vm(session, vm.id, state=VmState.running, reason="", last_start=runtime.now())


def run_again(runtime: Runtime, vm_id: str, host_id: str | None) -> None:
    """Undo of a stop, also of one that failed: the VM runs, where it ran."""
    if read_vm(runtime, vm_id).host_id is None:
        placed = place_vm(runtime, vm_id, host_id)
        networks = networks_of(runtime, vm_id)
        _touch(runtime, networks)
        prepare_networks(runtime, placed["host_id"], networks)
        _introduce(runtime, networks)
    _power_on(runtime, vm_id)
    set_vm(runtime, vm_id, desired_power="running")


def power_off(runtime: Runtime, vm_id: str, forced: bool) -> None:
    """Stop a VM on its host; fine if it is on none."""
    vm = read_vm(runtime, vm_id)
    if vm.host_id is None:
        return
    set_vm(runtime, vm_id, state=VmState.stopping, desired_power="stopped")
    put_down(runtime, vm_id, force=forced)


def _fail_stop(runtime: Runtime, vm_id: str) -> None:
    """Undo of a stop: on its host it counts as running, as before; what became of it the loop finds out."""
    if read_vm(runtime, vm_id).host_id is not None:
        set_vm(runtime, vm_id, state=VmState.running, desired_power="running")


def _reboot(runtime: Runtime, vm_id: str, reboots: int) -> None:
    set_vm(runtime, vm_id, reboots=reboots)
    put_vm(runtime, vm_id, "running")


def _fail_deploy(runtime: Runtime, vm_id: str) -> None:
    """Whatever was made is removed; the row stays in state Error, so that its owner sees what happened."""
    vm = read_vm(runtime, vm_id)
    remove_vm(runtime, vm_id, vm.host_id)
    unplace_vm(runtime, vm_id, VmState.error)
    with runtime.database.writing() as session:
        for volume in session.scalars(select(Volume).where(Volume.vm_id == vm_id, Volume.removed.is_(None))):
            volume.state, volume.pool_id = VolumeState.allocated, None
    for network_id in networks_of(runtime, vm_id):
        push_change(runtime, network_id)


def fail_start(runtime: Runtime, vm_id: str) -> None:
    """Undo of a start: the VM is stopped and on no host."""
    vm = read_vm(runtime, vm_id)
    if vm.host_id is not None:
        put_down(runtime, vm_id)
    unplace_vm(runtime, vm_id, VmState.stopped)


def _start_expunging(runtime: Runtime, vm_id: str) -> str:
    """The state that the VM was in; Destroyed for one whose expunge was cut in the middle."""
    vm = read_vm(runtime, vm_id)
    if vm.state not in (VmState.destroyed, VmState.expunging, VmState.error):
        raise ParameterError(f"VM {vm.name} is {vm.state}: destroy it first")
    set_vm(runtime, vm_id, state=VmState.expunging)
    return VmState.destroyed if vm.state == VmState.expunging else vm.state


def _remove_from_host(runtime: Runtime, vm_id: str) -> None:
    drop_all(runtime, vm_id)
    vm = read_vm(runtime, vm_id)
    remove_vm(runtime, vm_id, vm.host_id or vm.last_host_id)
    for volume_id in _shared_roots(runtime, vm_id):
        remove_file(runtime, volume_id)  # also where the host that had the VM is gone


def _shared_roots(runtime: Runtime, vm_id: str) -> list[str]:
    with runtime.database.reading() as session:
        query = (
            select(Volume.id)
            .join(StoragePool, StoragePool.id == Volume.pool_id)
            .where(Volume.vm_id == vm_id, Volume.kind == VolumeKind.root, Volume.removed.is_(None))
        )
        return list(session.scalars(query.where(StoragePool.host_id.is_(None))))


def _remove_rows(runtime: Runtime, vm_id: str) -> None:
    """Mark all that was the VM's own as removed, and note that its routers must know."""
    networks = networks_of(runtime, vm_id)
    with runtime.database.writing() as session:
        moment = now()
        vm = session.get_one(Vm, vm_id)
        vm.removed, vm.host_id = moment, None
        for nic in session.scalars(select(Nic).where(Nic.vm_id == vm_id, Nic.removed.is_(None))):
            nic.removed = moment
        secondary = select(NicAddress).join(Nic, Nic.id == NicAddress.nic_id).where(Nic.vm_id == vm_id)
        for extra in session.scalars(secondary.where(NicAddress.removed.is_(None))):
            extra.removed = moment
        session.execute(delete(AffinityMember).where(AffinityMember.vm_id == vm_id))
        for volume in session.scalars(select(Volume).where(Volume.vm_id == vm_id, Volume.removed.is_(None))):
            if volume.kind == VolumeKind.root:
                release_volumes(session, volume)
                volume.removed, volume.state = moment, VolumeState.destroy
            else:
                volume.vm_id, volume.device = None, None
        forwards = select(PortForwardingRule).where(
            PortForwardingRule.vm_id == vm_id, PortForwardingRule.removed.is_(None)
        )
        for rule in session.scalars(forwards).all():
            rule.removed, rule.state = moment, RuleState.revoke
            opened = select(FirewallRule).where(
                FirewallRule.opened_for == rule.id, FirewallRule.removed.is_(None)
            )
            for way_in in session.scalars(opened):
                way_in.removed, way_in.state = moment, RuleState.revoke
        for member in session.scalars(
            select(BalancerMember).where(BalancerMember.vm_id == vm_id, BalancerMember.removed.is_(None))
        ):
            member.removed = moment
        held = select(PublicAddress).where(
            PublicAddress.vm_id == vm_id, PublicAddress.is_static_nat.is_(True)
        )
        for address in session.scalars(held):
            address.is_static_nat, address.vm_id, address.vm_address = False, None, None
        for network_id in networks:
            touch_router(session, network_id)
