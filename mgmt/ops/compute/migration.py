"""Running VMs that move to another host, with those of their volumes that only their host can reach.

Room on the target is taken before anything moves, and the old host's given back last. Until the VM runs
there, every failure leaves it where it was; once it does, it stays there.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.alloc.hosts import place
from mgmt.alloc.pools import Wish, place_volume, require_room, require_tags, wish_of
from mgmt.alloc.room import Demand
from mgmt.model.errors import CloudError, ParameterError, Unavailable
from mgmt.model.pools import StorageType
from mgmt.model.states import VmState, VolumeKind
from mgmt.ops.compute.domains import compile_domain, followed, has_failed, put_vm
from mgmt.ops.compute.peers import fetch_base, peer_of, until_done
from mgmt.ops.compute.placement import demand_of
from mgmt.ops.compute.states import read_vm
from mgmt.ops.compute.vms import network_ids
from mgmt.ops.endpoints import driver_of, host_endpoint
from mgmt.ops.network.host_networks import push_host, push_hosts_of, tidy_host
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga
from mgmt.store.tables import Host, StoragePool, Vm, Volume
from systemvm.spec import host as spec

Plan = dict[str, Any]
"""`source` and `target` (hosts), `target_name`, `copies` (volumes whose content moves), `live`."""


def migrate_vm(
    runtime: Runtime,
    saga: Saga,
    *,
    vm_id: str,
    host_id: str | None = None,
    pools: Mapping[str, str] | None = None,
) -> None:
    """Move a running VM to `host_id`, or to the best host. `pools` maps volumes to pools there."""
    with runtime.locks.hold(f"vm:{vm_id}"):
        plan: Plan = saga.step(
            "choose a host",
            lambda: _reserve(runtime, vm_id, host_id, pools or {}),
            undo=lambda plan: _stay(runtime, vm_id, plan),
        )
        name = plan["target_name"]
        networks = saga.step("look at the VM's networks", lambda: _networks(runtime, vm_id))
        saga.step(f"prepare the networks of host {name}", lambda: push_host(runtime, plan["target"]))
        for network_id in networks:
            saga.step(
                "connect the hosts of a network",
                lambda network_id=network_id: push_hosts_of(runtime, network_id),  # type: ignore[misc]
            )
        landing = saga.step(f"prepare host {name}", lambda: _prepare(runtime, vm_id, plan))
        saga.step(f"move the VM to host {name}", lambda: _move(runtime, vm_id, plan, landing))
        saga.step("note where the VM is", lambda: _arrive(runtime, vm_id, plan))
        saga.step(f"tell host {name} about the VM", lambda: put_vm(runtime, vm_id, "running"))
        saga.step("remove the VM from its old host", lambda: _leave(runtime, vm_id, plan))
        for network_id in networks:
            saga.step(
                "connect the hosts of a network",
                lambda network_id=network_id: push_hosts_of(runtime, network_id),  # type: ignore[misc]
            )


def settle(runtime: Runtime, vm_id: str) -> None:
    """End a migration that no job ends: the VM is where it runs, and nothing of it elsewhere."""
    with runtime.database.reading() as session:
        vm = session.get_one(Vm, vm_id)
        copies = [volume.id for volume in _local_volumes(session, vm) if volume.target_pool_id]
        plan: Plan = {"source": vm.host_id, "target": vm.target_host_id, "copies": copies}
    _stay(runtime, vm_id, plan)


def _reserve(runtime: Runtime, vm_id: str, host_id: str | None, pools: Mapping[str, str]) -> Plan:
    """Take room on a host and in its pools; the VM is Migrating. Raises ParameterError, NoCapacity."""
    with runtime.database.writing() as session:
        vm = session.get_one(Vm, vm_id)
        if vm.state != VmState.migrating or vm.target_host_id is None:
            if vm.state != VmState.running or vm.host_id is None:
                raise ParameterError(f"VM {vm.name} is {vm.state} by now; only a Running one can move")
            target = _choose(session, vm, host_id)
            for volume in _local_volumes(session, vm):
                volume.target_pool_id = _pool_for(session, target, volume, pools.get(volume.id))
                session.flush()
            vm.state, vm.target_host_id = VmState.migrating, target.id
        source, target = session.get_one(Host, vm.host_id), session.get_one(Host, vm.target_host_id)
        return {
            "source": source.id,
            "target": target.id,
            "target_name": target.name,
            "copies": [volume.id for volume in _local_volumes(session, vm)],
            # What a TCG guest wrote while it was copied live is lost at times; KVM tracks it well.
            "live": source.acceleration == target.acceleration == "kvm",
        }


def _choose(session: Session, vm: Vm, host_id: str | None) -> Host:
    source = session.get_one(Host, vm.host_id)
    demand = demand_of(session, vm, host_id)
    if host_id == source.id:
        raise ParameterError(f"VM {vm.name} is on host {source.name} already: choose another")
    if source.state != "Up":
        raise Unavailable(f"host {source.name} of VM {vm.name} is {source.state}; only from one that is Up")
    return place(session, moving(session, vm, demand, source))


def moving(session: Session, vm: Vm, demand: Demand, source: Host) -> Demand:
    """What a VM needs of another host than `source`: also a pool, where its disks must move along."""
    moved = {_as_local(session, volume) for volume in _local_volumes(session, vm)}
    storage = demand.storage | moved
    return replace(demand, beside=source.id, acceleration=source.acceleration, storage=storage)


def _as_local(session: Session, volume: Volume) -> Wish:
    return wish_of(session, volume)._replace(storage=StorageType.local)


def _pool_for(session: Session, target: Host, volume: Volume, wanted: str | None) -> str:
    if wanted is None:
        return place_volume(session, target.id, volume.size, _as_local(session, volume)).id
    pool = session.get_one(StoragePool, wanted)
    if pool.host_id != target.id:
        raise ParameterError(f"storage pool {pool.name} is not on host {target.name}")
    require_tags(pool, wish_of(session, volume))
    require_room(session, pool, volume.size)
    return pool.id


def _local_volumes(session: Session, vm: Vm) -> list[Volume]:
    """The volumes that only the VM's host can reach."""
    query = (
        select(Volume)
        .join(StoragePool, StoragePool.id == Volume.pool_id)
        .where(Volume.vm_id == vm.id, Volume.removed.is_(None), StoragePool.host_id == vm.host_id)
    )
    return list(session.scalars(query.order_by(Volume.device)))


def _networks(runtime: Runtime, vm_id: str) -> list[str]:
    with runtime.database.reading() as session:
        return network_ids(session, vm_id)


def _prepare(runtime: Runtime, vm_id: str, plan: Plan) -> dict[str, Any]:
    """Volumes, CD and door on the target. Where the VM's parts will lie there, as plain data."""
    with runtime.database.reading() as session:
        vm, host = session.get_one(Vm, vm_id), session.get_one(Host, plan["target"])
        source = session.get_one(Host, plan["source"])
        document = compile_domain(runtime, session, vm, "running", is_arriving=True)
        kept = {volume.id for volume in _volumes(session, plan) if volume.kind == VolumeKind.data}
        driver, endpoint = driver_of(runtime, host), host_endpoint(host)
    # What an earlier move left here is old: nothing may be taken for what is to come.
    driver.delete_domain(endpoint, vm_id, keep_volumes=True)
    for volume_id in plan["copies"]:
        driver.delete_volume(endpoint, volume_id)
    for volume in document.volumes:
        if volume.id in plan["copies"]:
            fetch_base(runtime, driver, endpoint, volume, source)
        if volume.id in kept:  # for itself, so that it outlives the VM there too
            driver.put_volume(endpoint, volume)
    words = f"host {host.name} was not ready for VM {vm.name}"
    landing = until_done(runtime, lambda: driver.put_landing(endpoint, document), words)
    plain: dict[str, Any] = msgspec.to_builtins(landing)
    return plain


def _move(runtime: Runtime, vm_id: str, plan: Plan, landing: dict[str, Any]) -> None:
    with runtime.database.reading() as session:
        source, target = session.get_one(Host, plan["source"]), session.get_one(Host, plan["target"])
    departure = spec.Departure(
        to=peer_of(runtime, target, vm_id),
        landing=msgspec.convert(landing, spec.Landing),
        copies=tuple(plan["copies"]),
        live=plan["live"],
    )
    driver, endpoint = driver_of(runtime, source), host_endpoint(source)
    status = followed(runtime, driver, endpoint, driver.depart(endpoint, vm_id, departure))
    if status is None or has_failed(status) or not _runs_there(runtime, vm_id, target):
        words = status.reason if status else "it has no such VM any more"
        raise CloudError(f"host {source.name} could not send the VM to host {target.name}: {words}")


def _runs_there(runtime: Runtime, vm_id: str, host: Host) -> bool:
    status = driver_of(runtime, host).domain_status(host_endpoint(host), vm_id)
    return status is not None and status.state == "running"


def _arrive(runtime: Runtime, vm_id: str, plan: Plan) -> None:
    with runtime.database.writing() as session:
        vm = session.get_one(Vm, vm_id)
        vm.last_host_id, vm.host_id, vm.target_host_id = plan["source"], plan["target"], None
        vm.state, vm.reason = VmState.running, ""
        for volume in _volumes(session, plan):
            volume.pool_id, volume.target_pool_id = volume.target_pool_id or volume.pool_id, None


def _leave(runtime: Runtime, vm_id: str, plan: Plan) -> None:
    """The old host forgets the VM and the volumes that moved; the new one shuts its door."""
    with runtime.database.reading() as session:
        source, target = session.get_one(Host, plan["source"]), session.get_one(Host, plan["target"])
    driver_of(runtime, target).close_landing(host_endpoint(target), vm_id)
    driver, endpoint = driver_of(runtime, source), host_endpoint(source)
    driver.delete_domain(endpoint, vm_id, keep_volumes=True)
    for volume_id in plan["copies"]:
        driver.delete_volume(endpoint, volume_id)
    tidy_host(runtime, source.id)


def _stay(runtime: Runtime, vm_id: str, plan: Plan) -> None:
    """Undo: the VM is where it was, and nothing of it on the target. One that got there stays."""
    vm = read_vm(runtime, vm_id)
    if vm.host_id == plan["target"]:
        return
    with runtime.database.reading() as session:
        target = session.get_one(Host, plan["target"])
    if _runs_there(runtime, vm_id, target):
        _arrive(runtime, vm_id, plan)
        _leave(runtime, vm_id, plan)
        return
    driver, endpoint = driver_of(runtime, target), host_endpoint(target)
    driver.delete_domain(endpoint, vm_id, keep_volumes=True)
    for volume_id in plan["copies"]:
        driver.delete_volume(endpoint, volume_id)
    with runtime.database.writing() as session:
        vm = session.get_one(Vm, vm_id)
        vm.state, vm.target_host_id = VmState.running, None
        for volume in _volumes(session, plan):
            volume.target_pool_id = None
    tidy_host(runtime, target.id)


def _volumes(session: Session, plan: Plan) -> list[Volume]:
    return [session.get_one(Volume, volume_id) for volume_id in plan["copies"]]
