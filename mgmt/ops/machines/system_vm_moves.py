"""System VMs that go to another host: stopped here, booted there; what only they have goes along.

They do not move while they run: their root disk is a layer over the image that this host has, and the other
may have another build of it. It holds nothing that the next boot does not bring, so it is made anew.
"""

from dataclasses import replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.alloc.hosts import place
from mgmt.alloc.pools import Wish, place_volume
from mgmt.model.errors import NoCapacity, ParameterError, Unavailable
from mgmt.model.pools import StorageType
from mgmt.model.states import VmKind, VmState, VolumeKind, VolumeState
from mgmt.ops.compute.placement import demand_of, unplace_vm
from mgmt.ops.compute.states import set_vm
from mgmt.ops.endpoints import driver_of, host_endpoint
from mgmt.ops.machines.system_vms import boot, let_run, put_down
from mgmt.ops.network.host_networks import push_hosts_of
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga
from mgmt.ops.storage.volume_moves import move_volumes
from mgmt.store.tables import Host, StoragePool, Vm, Volume

Plan = dict[str, Any]
"""`name` of the VM, hosts `source` and `target`, `pools` (of data volumes there), a router's `network`."""


def migrate_system_vm(
    runtime: Runtime, saga: Saga, *, vm_id: str, host_id: str | None = None, pool_id: str | None = None
) -> None:
    """Let a system VM work on `host_id`, or on the best other host; `pool_id` there takes its data.

    When that fails, the reconcile loop starts it where its data is.
    """
    with runtime.locks.hold(f"machine:{vm_id}"):
        plan: Plan = saga.step(
            "choose another host for a system VM", lambda: _choose(runtime, vm_id, host_id, pool_id)
        )
        name = plan["name"]
        saga.on_failure(f"let {name} be started again", lambda: let_run(runtime, vm_id))
        saga.step(f"stop {name}", lambda: _stop(runtime, vm_id, plan))
        if plan["pools"]:
            move_volumes(runtime, saga, pools=plan["pools"], vm_id=vm_id)
        saga.step(f"remove {name} from its old host", lambda: _leave(runtime, vm_id, plan))
        boot(runtime, saga, vm_id, name, plan["target"])
        if plan["network"]:
            saga.step(
                "connect the hosts of the router's network", lambda: push_hosts_of(runtime, plan["network"])
            )


def can_move(runtime: Runtime, vm_id: str) -> bool:
    """Whether another host takes a system VM."""
    try:
        _choose(runtime, vm_id, None, None)
    except (NoCapacity, Unavailable):
        return False
    return True


def require_place(session: Session, vm: Vm, host_id: str | None = None, pool_id: str | None = None) -> Plan:
    """Where a system VM would go. Raises NoCapacity with every host's reason, Unavailable, ParameterError."""
    if vm.host_id is None or vm.state != VmState.running:
        raise Unavailable(f"{vm.name} is {vm.state}; only a Running one can go to another host")
    if host_id == vm.host_id:
        raise ParameterError(f"{vm.name} is on that host already: choose another")
    demand = demand_of(session, vm, host_id)
    storage = demand.storage | {Wish(StorageType.local)}
    target = place(session, replace(demand, beside=vm.host_id, storage=storage))
    pools = {
        volume.id: pool_id or place_volume(session, target.id, volume.size, Wish(StorageType.local)).id
        for volume in _local_data(session, vm)
    }
    return {
        "name": vm.name,
        "source": vm.host_id,
        "target": target.id,
        "pools": pools,
        "network": vm.network_id if vm.kind == VmKind.router else None,
    }


def _choose(runtime: Runtime, vm_id: str, host_id: str | None, pool_id: str | None) -> Plan:
    with runtime.database.reading() as session:
        return require_place(session, session.get_one(Vm, vm_id), host_id, pool_id)


def _local_data(session: Session, vm: Vm) -> list[Volume]:
    """The disks of data that only the VM's host can reach."""
    query = (
        select(Volume)
        .join(StoragePool, StoragePool.id == Volume.pool_id)
        .where(Volume.vm_id == vm.id, Volume.removed.is_(None), StoragePool.host_id == vm.host_id)
    )
    return list(session.scalars(query.where(Volume.kind == VolumeKind.data).order_by(Volume.device)))


def _stop(runtime: Runtime, vm_id: str, plan: Plan) -> None:
    with runtime.database.reading() as session:
        is_on = session.get_one(Vm, vm_id).host_id == plan["source"]
    if is_on:
        set_vm(runtime, vm_id, state=VmState.stopping, desired_power="stopped", healthy=False)
        put_down(runtime, vm_id)
        unplace_vm(runtime, vm_id, VmState.stopped, "it goes to another host")


def _leave(runtime: Runtime, vm_id: str, plan: Plan) -> None:
    """The old host forgets the VM and its root disk, which is a row only until the next host makes it."""
    with runtime.database.reading() as session:
        source = session.get_one(Host, plan["source"])
        query = select(Volume.id).where(Volume.vm_id == vm_id, Volume.removed.is_(None))
        roots = list(session.scalars(query.where(Volume.kind == VolumeKind.root)))
    driver, endpoint = driver_of(runtime, source), host_endpoint(source)
    driver.delete_domain(endpoint, vm_id, keep_volumes=True)
    for volume_id in roots:
        driver.delete_volume(endpoint, volume_id)
    with runtime.database.writing() as session:
        for volume_id in roots:
            root = session.get_one(Volume, volume_id)
            root.state, root.pool_id = VolumeState.allocated, None
