"""VMs and volumes move between simulated hosts: room, disks, networks, and what failures leave."""

from typing import Any

import msgspec
import pytest

from mgmt.agents.errors import AgentConflict, AgentUnreachable
from mgmt.alloc.affinity import APART
from mgmt.doctor.examine import examine
from mgmt.drivers.faults import Fault
from mgmt.drivers.simulated_host import SimulatedHost
from mgmt.ops import names
from mgmt.ops.endpoints import host_endpoint
from mgmt.ops.saga import Saga, StepFailed, run_directly
from mgmt.ops.workflows import run
from mgmt.reconcile.loop import Reconciler
from mgmt.store.tables import AffinityGroup, AffinityMember, Host, StoragePool, Vm, Volume
from systemvm.spec.host import Peer, Power, VolumeFetch
from tests.unit.mgmt.small_cloud import SmallCloud, add_host, add_shared_pool

pytestmark = pytest.mark.unit


@pytest.fixture
def vm(cloud: SmallCloud) -> Vm:
    made = cloud.new_vm(cloud.new_network())
    cloud.run(names.DEPLOY_VM, vm_id=made.id)
    return made


def change(cloud: SmallCloud, table: type[Any], row_id: str, **columns: Any) -> None:
    with cloud.runtime.database.writing() as session:
        for name, value in columns.items():
            setattr(session.get_one(table, row_id), name, value)


def first(cloud: SmallCloud) -> SimulatedHost:
    return cloud.simulator.hosts["172.31.240.1"]


def second(cloud: SmallCloud) -> SimulatedHost:
    return cloud.simulator.hosts["172.31.240.2"]


def root_of(cloud: SmallCloud, vm: Vm) -> Volume:
    return next(row for row in cloud.rows(Volume) if row.vm_id == vm.id)


def test_a_vm_takes_its_disks_and_networks_along(cloud: SmallCloud, vm: Vm) -> None:
    there = add_host(cloud)
    network = next(iter(second_networks(cloud)), None)
    assert network is None
    cloud.run(names.MIGRATE_VM, vm_id=vm.id)
    row, root = cloud.row(Vm, vm.id), root_of(cloud, vm)
    assert (row.state, row.host_id, row.last_host_id, row.target_host_id) == (
        "Running", there, cloud.host_id, None,
    )  # fmt: skip
    assert (cloud.row(StoragePool, root.pool_id).host_id, root.target_pool_id) == (there, None)
    assert second(cloud).status[vm.id].state == "running"
    assert root.id in second(cloud).volumes
    assert vm.id not in first(cloud).domains
    assert root.id not in first(cloud).volumes
    assert second(cloud).landings == {}
    # The router stays, so the network is on both hosts, each the other's peer.
    for host, peer in ((first(cloud), "172.31.240.2"), (second(cloud), "172.31.240.1")):
        assert host.state is not None
        assert [network.peers for network in host.state.networks] == [(peer,)]
    cloud.run(names.STOP_VM, vm_id=vm.id)
    cloud.run(names.START_VM, vm_id=vm.id)
    assert cloud.row(Vm, vm.id).host_id == there, "it starts where its disks are"


def second_networks(cloud: SmallCloud) -> list[str]:
    host = cloud.simulator.hosts.get("172.31.240.2")
    return [network.id for network in host.state.networks] if host and host.state else []


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"memory_mib": 600}, "host2 has"),
        ({"acceleration": "kvm"}, "runs VMs by kvm, not by qemu"),
        ({"state": "Alert"}, "host2 is Alert"),
        ({"resource_state": "Disabled"}, "host2 is Disabled"),
    ],
)
def test_hosts_that_do_not_take_it(cloud: SmallCloud, vm: Vm, columns: dict[str, Any], words: str) -> None:
    change(cloud, Host, add_host(cloud), **columns)
    with pytest.raises(StepFailed, match=words):
        cloud.run(names.MIGRATE_VM, vm_id=vm.id)
    assert cloud.row(Vm, vm.id).state == "Running"


def test_affinity_holds_on_the_way(cloud: SmallCloud, vm: Vm) -> None:
    there = add_host(cloud)
    other = cloud.new_vm(cloud.new_network("second", "10.1.2.0/24"), "other")
    owner = {"account_id": cloud.account_id, "domain_id": cloud.domain_id}
    group = cloud.add(AffinityGroup(**owner, name="apart", type=APART))
    cloud.add(*(AffinityMember(group_id=group.id, vm_id=one.id) for one in (vm, other)))
    change(cloud, Vm, vm.id, state="Migrating", target_host_id=there)
    with pytest.raises(StepFailed, match="has a VM of an anti-affinity group"):
        cloud.run(names.DEPLOY_VM, vm_id=other.id)


def test_room_is_taken_at_both_ends(cloud: SmallCloud, vm: Vm) -> None:
    there = add_host(cloud)
    change(cloud, Host, there, memory_mib=512 + 256)
    change(cloud, Vm, vm.id, state="Migrating", target_host_id=there, memory=256)
    other = cloud.new_vm(cloud.new_network("second", "10.1.2.0/24"), "other")
    with pytest.raises(StepFailed, match="no host"):
        cloud.run(names.DEPLOY_VM, vm_id=other.id, host_id=there)


def look(cloud: SmallCloud) -> None:
    loop = Reconciler(cloud.runtime, monotonic=lambda: cloud.clock.now.timestamp())
    loop.tick()
    loop.wait_idle()
    loop.stop()


def test_the_loop_leaves_a_vm_alone_that_moves_and_ends_what_no_job_ends(cloud: SmallCloud, vm: Vm) -> None:
    there, root = add_host(cloud), root_of(cloud, vm)
    pool = next(row for row in cloud.rows(StoragePool) if row.host_id == there)
    change(cloud, Volume, root.id, target_pool_id=pool.id)
    change(cloud, Vm, vm.id, state="Migrating", target_host_id=there)
    with cloud.runtime.locks.hold(f"vm:{vm.id}"):
        look(cloud)
        assert cloud.row(Vm, vm.id).state == "Migrating"
    look(cloud)
    row = cloud.row(Vm, vm.id)
    assert (row.state, row.host_id, row.target_host_id) == ("Running", cloud.host_id, None)
    assert root_of(cloud, vm).target_pool_id is None


def test_what_an_earlier_move_left_is_not_taken_for_the_vm(cloud: SmallCloud, vm: Vm) -> None:
    there, root = add_host(cloud), root_of(cloud, vm)
    gone = AgentUnreachable("host1", "no answer")
    cloud.simulator.faults.plan(Fault(call="delete_domain", error=gone, left=2))
    with pytest.raises(StepFailed, match="no answer"):
        cloud.run(names.MIGRATE_VM, vm_id=vm.id)
    cloud.run(names.MIGRATE_VM, vm_id=vm.id)
    cloud.simulator.faults.plan(Fault(call="delete_volume", error=gone, place=cloud.host_id))
    assert cloud.row(Vm, vm.id).host_id == there
    first(cloud).snapshots[root.id].add("of the old file")
    first(cloud).volumes.setdefault(root.id, second(cloud).volumes[root.id])
    cloud.simulator.faults.clear()
    cloud.run(names.MIGRATE_VM, vm_id=vm.id, host_id=cloud.host_id)
    assert first(cloud).snapshots[root.id] == set()
    assert root.id not in second(cloud).volumes


def test_a_vm_that_moved_although_the_answer_was_lost_stays_there(cloud: SmallCloud, vm: Vm) -> None:
    there = add_host(cloud)
    lost = AgentUnreachable("host1", "no answer")
    cloud.simulator.faults.plan(Fault(call="depart", error=lost, is_done=True))
    with pytest.raises(StepFailed, match="no answer"):
        cloud.run(names.MIGRATE_VM, vm_id=vm.id)
    assert cloud.said == []
    row = cloud.row(Vm, vm.id)
    assert (row.state, row.host_id) == ("Running", there)
    assert vm.id not in first(cloud).domains
    assert first(cloud).volumes.keys() & second(cloud).volumes.keys() == set()


def test_a_detached_volume_moves_with_what_is_in_it(cloud: SmallCloud, vm: Vm) -> None:
    owner = {"account_id": cloud.account_id, "domain_id": cloud.domain_id, "zone_id": cloud.zone_id}
    data = cloud.add(Volume(**owner, name="data", size=1 << 30))
    cloud.run(names.ATTACH_VOLUME, volume_id=data.id, vm_id=vm.id)
    cloud.run(names.DETACH_VOLUME, volume_id=data.id)
    there = add_host(cloud)
    pool = next(row for row in cloud.rows(StoragePool) if row.host_id == there)
    cloud.run(names.MOVE_VOLUMES, pools={data.id: pool.id})
    row = cloud.row(Volume, data.id)
    assert (row.pool_id, row.state, row.target_pool_id) == (pool.id, "Ready", None)
    assert data.id in second(cloud).volumes
    assert data.id in second(cloud).kept, "it outlives VMs there too"
    assert data.id not in first(cloud).volumes
    with pytest.raises(StepFailed, match="already"):
        cloud.run(names.MOVE_VOLUMES, pools={data.id: pool.id})


def test_a_stopped_vm_starts_where_its_disks_went(cloud: SmallCloud, vm: Vm) -> None:
    there = add_host(cloud)
    pool = next(row for row in cloud.rows(StoragePool) if row.host_id == there)
    root = root_of(cloud, vm)
    with pytest.raises(StepFailed, match="its volumes move while it is Stopped"):
        cloud.run(names.MOVE_VOLUMES, pools={root.id: pool.id}, vm_id=vm.id)
    cloud.run(names.STOP_VM, vm_id=vm.id)
    cloud.run(names.MOVE_VOLUMES, pools={root.id: pool.id}, vm_id=vm.id)
    assert vm.id not in first(cloud).domains
    cloud.run(names.START_VM, vm_id=vm.id)
    assert cloud.row(Vm, vm.id).host_id == there


def volume_that_moves(cloud: SmallCloud, vm: Vm, *, attached: bool) -> tuple[str, StoragePool]:
    """A volume in state Migrating that no job is about, and the pool it was to go to."""
    there = add_host(cloud)
    pool = next(row for row in cloud.rows(StoragePool) if row.host_id == there)
    owner = {"account_id": cloud.account_id, "domain_id": cloud.domain_id, "zone_id": cloud.zone_id}
    data = cloud.add(Volume(**owner, name="data", size=1 << 30))
    cloud.run(names.ATTACH_VOLUME, volume_id=data.id, vm_id=vm.id)
    cloud.run(names.STOP_VM, vm_id=vm.id)
    moving = [row.id for row in cloud.rows(Volume) if row.vm_id == vm.id]
    if not attached:
        cloud.run(names.DETACH_VOLUME, volume_id=data.id)
        moving = [data.id]
    for volume_id in moving:
        change(cloud, Volume, volume_id, target_pool_id=pool.id, state="Migrating")
    return data.id, pool


@pytest.mark.parametrize(
    ("attached", "here", "there", "ends"),
    [
        (True, True, True, "stays"),
        (True, True, None, "stays"),
        (True, False, True, "arrives"),
        (True, None, True, "unclear"),
        (False, False, False, "unclear"),
    ],
)
def test_volumes_whose_move_no_job_ends_are_where_whole_files_are(
    cloud: SmallCloud, vm: Vm, attached: bool, here: bool | None, there: bool | None, ends: str
) -> None:
    """`here` and `there`: whether the old and the new host have the files; None: it does not answer."""
    volume_id, pool = volume_that_moves(cloud, vm, attached=attached)
    cloud.simulator.info(host_endpoint(cloud.row(Host, pool.host_id)))  # simulated hosts begin when asked
    moving = [row.id for row in cloud.rows(Volume) if row.target_pool_id]
    files = {one: first(cloud).volumes[one] for one in moving}
    for host, has in ((first(cloud), here), (second(cloud), there)):
        host.volumes.update(files)
        for one in moving if has is False else ():
            host.volumes.pop(one)
        host.is_down = has is None
    if here is False:
        first(cloud).domains.pop(vm.id, None)
    look(cloud)
    row, went = cloud.row(Volume, volume_id), ends == "arrives"
    places = (pool.id if went else cloud.pool_id, pool.id if ends == "unclear" else None)
    assert (row.pool_id, row.target_pool_id) == places
    assert row.state == ("Migrating" if ends == "unclear" else "Ready")
    assert (volume_id in second(cloud).volumes) == (there is None or (there and ends != "stays"))
    assert (volume_id in first(cloud).volumes) == (here is not False)
    if went:
        assert cloud.row(Vm, vm.id).last_host_id == pool.host_id


def half_moved(cloud: SmallCloud, vm: Vm) -> tuple[str, StoragePool]:
    """A running VM's root in state Migrating, to a pool that its host shares; no job is about it."""
    pool, root = add_shared_pool(cloud), root_of(cloud, vm)
    change(cloud, Volume, root.id, target_pool_id=pool.id, state="Migrating")
    return root.id, pool


@pytest.mark.parametrize("is_stopped", [False, True])
@pytest.mark.parametrize("has_moved", [False, True])
def test_a_volume_that_moved_while_its_vm_ran_is_where_the_vm_has_it(
    cloud: SmallCloud, vm: Vm, has_moved: bool, is_stopped: bool
) -> None:
    volume_id, pool = half_moved(cloud, vm)
    host = host_endpoint(cloud.row(Host, cloud.host_id))
    if has_moved:
        old = next(one for one in first(cloud).domains[vm.id].volumes if one.id == volume_id)
        source = Peer(address=host.address, server_name="", server_ca="", certificate="", key="")
        copy = VolumeFetch(volume=msgspec.structs.replace(old, pool=pool.id), source=source, pool=old.pool)
        cloud.simulator.move_disk(host, vm.id, copy)
    if is_stopped:
        document = first(cloud).domains[vm.id]
        cloud.simulator.put_domain(host, msgspec.structs.replace(document, power=Power.stopped))
        change(cloud, Vm, vm.id, state="Stopped", host_id=None, last_host_id=cloud.host_id)
    problems = {finding.problem for finding in examine(cloud.runtime) if finding.id == volume_id}
    assert "is in state Migrating, but no job is about it" in problems
    assert any("while its VM ran, but its row says" in problem for problem in problems) == has_moved
    with pytest.raises(AgentConflict, match="is attached to VM"):
        cloud.simulator.delete_volume(host, volume_id, pool.id if has_moved else "primary")
    first(cloud).is_down = True
    look(cloud)
    assert cloud.row(Volume, volume_id).state == "Migrating", "nobody can tell"
    first(cloud).is_down = False
    look(cloud)
    row = cloud.row(Volume, volume_id)
    assert (row.pool_id, row.target_pool_id) == (pool.id if has_moved else cloud.pool_id, None)
    (file,) = [one for one in cloud.simulator.all_volumes(host) if one.id == volume_id]
    assert (file.pool, file.domain) == (pool.id if has_moved else "primary", vm.id)


def test_an_agent_that_started_anew_is_asked_again(cloud: SmallCloud, vm: Vm) -> None:
    """It says that the VM runs, and knows of no move."""
    root, pool = root_of(cloud, vm), add_shared_pool(cloud)
    status = first(cloud).status[vm.id]
    answers = [status, msgspec.structs.replace(status, state="preparing", reason="moving volume, 42 %")]
    do = cloud.simulator.move_disk
    said: list[str] = []

    def move_disk(*asked: Any) -> Any:
        return answers.pop() if answers else do(*asked)

    cloud.simulator.move_disk = move_disk  # type: ignore[method-assign]
    saga = Saga(run_directly, said.append)
    run(cloud.runtime, saga, names.MOVE_RUNNING_VOLUMES, {"vm_id": vm.id, "pools": {root.id: pool.id}})
    assert {"moving volume, 42 %", "asking the host again"} <= set(said)
    assert cloud.row(Volume, root.id).pool_id == pool.id
    change(cloud, Vm, vm.id, state="Stopping")
    with pytest.raises(StepFailed, match="is Stopping by now; ask again"):
        cloud.run(names.MOVE_RUNNING_VOLUMES, vm_id=vm.id, pools={root.id: cloud.pool_id})


def test_a_vm_does_not_start_while_its_disks_move_and_keeps_them(cloud: SmallCloud, vm: Vm) -> None:
    volume_id, pool = volume_that_moves(cloud, vm, attached=True)
    with pytest.raises(StepFailed, match="of VM web is Migrating"):
        cloud.run(names.START_VM, vm_id=vm.id)
    row = cloud.row(Volume, volume_id)
    assert (row.pool_id, row.target_pool_id, row.state) == (cloud.pool_id, pool.id, "Migrating")
