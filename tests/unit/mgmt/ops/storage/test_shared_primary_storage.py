"""Pools that hosts share: VMs start wherever the pool is reached, over the same files."""

from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import delete, select

from mgmt.agents.errors import AgentUnreachable
from mgmt.alloc.counted import correct_domain
from mgmt.alloc.pools import Wish, place_volume
from mgmt.doctor.examine import examine
from mgmt.drivers.simulated_host import SharedFolder, SimulatedHost
from mgmt.model.errors import NoCapacity, ParameterError, Unavailable
from mgmt.ops import names
from mgmt.ops.compute.domains import forget_vm
from mgmt.ops.compute.placement import place_vm
from mgmt.ops.endpoints import host_endpoint
from mgmt.ops.saga import StepFailed
from mgmt.ops.storage.move_checks import refuse_apart
from mgmt.ops.storage.shared_pools import connect_new, tidy_pools
from mgmt.reconcile.tidy import tidy
from mgmt.store.tables import Domain, Host, PoolHost, StoragePool, Vm, Volume
from systemvm.spec.host import HostVolume
from tests.unit.mgmt.small_cloud import SmallCloud, add_host, add_shared_pool

pytestmark = pytest.mark.unit


@dataclass
class Shared:
    """Two hosts that share a pool, and a VM in it that runs on the first."""

    cloud: SmallCloud
    pool: StoragePool
    other: str
    vm_id: str

    @property
    def vm(self) -> Vm:
        row: Vm = self.cloud.row(Vm, self.vm_id)
        return row

    @property
    def root(self) -> Volume:
        return next(row for row in self.cloud.rows(Volume) if row.vm_id == self.vm_id)

    @property
    def folder(self) -> SharedFolder:
        return self.cloud.simulator.folders[self.pool.path]

    def host(self, number: int) -> SimulatedHost:
        return self.cloud.simulator.hosts[f"172.31.240.{number}"]

    def change(self, table: type[Any], row_id: str, **columns: Any) -> None:
        with self.cloud.runtime.database.writing() as session:
            for name, value in columns.items():
                setattr(session.get_one(table, row_id), name, value)

    def infos(self) -> dict[str, Any]:
        """What all hosts say of themselves now."""
        driver = self.cloud.simulator
        return {host.id: driver.info(host_endpoint(host)) for host in self.cloud.rows(Host)}

    def reaching(self) -> set[str]:
        with self.cloud.runtime.database.reading() as session:
            return set(session.scalars(select(PoolHost.host_id)))


@pytest.fixture
def shared(cloud: SmallCloud) -> Shared:
    other = add_host(cloud)
    pool = add_shared_pool(cloud)
    vm = cloud.new_vm(cloud.new_network())
    cloud.run(names.DEPLOY_VM, vm_id=vm.id)
    with cloud.runtime.database.writing() as session:  # rows came by the back door, uncounted
        correct_domain(session, session.get_one(Domain, cloud.domain_id))
    return Shared(cloud, pool, other, vm.id)


def test_a_vm_starts_on_another_host_over_the_same_file(shared: Shared) -> None:
    cloud, root = shared.cloud, shared.root
    assert (root.pool_id, shared.vm.host_id) == (shared.pool.id, cloud.host_id)
    assert root.id in shared.folder.volumes
    assert root.id not in shared.host(1).volumes
    shared.folder.snapshots[root.id].add("written by the guest")
    cloud.run(names.STOP_VM, vm_id=shared.vm_id)
    cloud.run(names.START_VM, vm_id=shared.vm_id)
    assert shared.vm.host_id == cloud.host_id, "where it was, if that has room"
    cloud.run(names.STOP_VM, vm_id=shared.vm_id)
    cloud.run(names.START_VM, vm_id=shared.vm_id, host_id=shared.other)
    assert (shared.vm.state, shared.vm.host_id) == ("Running", shared.other)
    assert shared.vm_id not in shared.host(1).domains
    assert shared.folder.snapshots[root.id] == {"written by the guest"}
    assert examine(cloud.runtime) == []
    cloud.run(names.DESTROY_VM, vm_id=shared.vm_id, expunge=True)
    assert shared.folder.volumes == {}
    assert examine(cloud.runtime) == []


def test_a_vm_starts_elsewhere_while_its_host_is_away(shared: Shared) -> None:
    cloud = shared.cloud
    cloud.run(names.STOP_VM, vm_id=shared.vm_id)
    shared.host(1).is_down = True
    shared.change(Host, cloud.host_id, state="Alert")
    # By its parts: the network's router is on the host that is away, too.
    placed = place_vm(cloud.runtime, shared.vm_id)
    assert (placed["host_id"], placed["left"]) == (shared.other, cloud.host_id)
    forget_vm(cloud.runtime, shared.vm_id, cloud.host_id)
    shared.change(Vm, shared.vm_id, state="Running")
    shared.host(1).is_down = False
    shared.change(Host, cloud.host_id, state="Up")
    assert shared.vm_id in shared.host(1).domains
    tidy(cloud.runtime)
    assert shared.vm_id not in shared.host(1).domains
    assert shared.root.id in shared.folder.volumes, "its disk is not the old host's to remove"


def test_only_hosts_that_reach_the_pool_take_its_vms(shared: Shared) -> None:
    cloud = shared.cloud
    cloud.run(names.STOP_VM, vm_id=shared.vm_id)
    late = add_host(cloud, "host3", "172.31.240.3")
    with pytest.raises(StepFailed, match="host3 does not reach the storage pools of its disks"):
        cloud.run(names.START_VM, vm_id=shared.vm_id, host_id=late)
    shared.host(2).unmounted.add(shared.pool.path)
    tidy_pools(cloud.runtime, shared.infos())
    assert shared.reaching() == {cloud.host_id, late}
    with pytest.raises(StepFailed, match="host2 does not reach"):
        cloud.run(names.START_VM, vm_id=shared.vm_id, host_id=shared.other)
    (finding,) = examine(cloud.runtime)
    assert (finding.name, finding.repair) == ("shared", "mount /mnt/shared there")
    assert "host2" in finding.problem
    shared.host(2).unmounted.clear()
    tidy_pools(cloud.runtime, shared.infos())
    assert shared.reaching() == {cloud.host_id, late, shared.other}
    cloud.run(names.START_VM, vm_id=shared.vm_id, host_id=late)
    assert shared.vm.host_id == late


def test_a_running_vm_moves_without_its_disk(shared: Shared) -> None:
    cloud = shared.cloud
    cloud.run(names.MIGRATE_VM, vm_id=shared.vm_id)
    assert (shared.vm.state, shared.vm.host_id) == ("Running", shared.other)
    assert shared.root.pool_id == shared.pool.id
    assert shared.root.id in shared.folder.volumes
    assert shared.vm_id not in shared.host(1).domains
    assert examine(cloud.runtime) == []


def test_a_data_volume_follows_its_vms(shared: Shared) -> None:
    cloud = shared.cloud
    owner = {"account_id": cloud.account_id, "domain_id": cloud.domain_id, "zone_id": cloud.zone_id}
    data = cloud.add(Volume(**owner, name="data", size=1 << 30))
    shared.change(Volume, data.id, pool_id=shared.pool.id)
    cloud.run(names.ATTACH_VOLUME, volume_id=data.id, vm_id=shared.vm_id)
    cloud.run(names.DETACH_VOLUME, volume_id=data.id)
    cloud.run(names.RESIZE_VOLUME, volume_id=data.id, size=2 << 30)
    assert shared.folder.volumes[data.id].bytes == 2 << 30
    second = cloud.new_vm(cloud.new_network("other", "10.1.2.0/24"), "second")
    cloud.run(names.DEPLOY_VM, vm_id=second.id, host_id=shared.other)
    cloud.run(names.ATTACH_VOLUME, volume_id=data.id, vm_id=second.id)
    assert cloud.row(Volume, data.id).vm_id == second.id
    cloud.run(names.DETACH_VOLUME, volume_id=data.id)
    shared.host(1).is_down = True
    shared.change(Host, cloud.host_id, state="Alert")
    cloud.run(names.DELETE_VOLUME, volume_id=data.id)
    assert data.id not in shared.folder.volumes, "any host that reaches it can remove it"


def test_two_hosts_never_run_one_file(shared: Shared) -> None:
    """The rows may be wrong; the lock on the file is not."""
    shared.change(Vm, shared.vm_id, host_id=None, last_host_id=shared.other, state="Stopped")
    with pytest.raises(StepFailed, match="cannot be locked"):
        shared.cloud.run(names.START_VM, vm_id=shared.vm_id, host_id=shared.other)


def test_what_is_too_much_or_missing_in_a_shared_pool_is_found_once(shared: Shared) -> None:
    volumes = shared.folder.volumes
    stray = volumes.pop(shared.root.id)
    (missing,) = examine(shared.cloud.runtime)
    assert (missing.id, "has no file of it" in missing.problem) == (shared.root.id, True)
    volumes[shared.root.id] = stray
    other = "99999999-0000-4000-8000-000000000001"
    volumes[other] = stray.__class__(id=other, pool=shared.pool.id, bytes=1, allocated=0)
    (found,) = examine(shared.cloud.runtime)
    assert (found.id, found.repair) == (other, "delete it in /mnt/shared, if it is nobody's")


@pytest.mark.parametrize(
    ("number", "words"),
    [(2, "host host2 cannot use /mnt/more .*mount it"), (1, "host host1 cannot use /mnt/more")],
)
def test_a_folder_that_one_host_lacks_is_no_pool(shared: Shared, number: int, words: str) -> None:
    cloud = shared.cloud
    shared.host(number).unmounted.add("/mnt/more")
    pool = StoragePool(zone_id=cloud.zone_id, name="more", path="/mnt/more", scope="ZONE")
    with pytest.raises(ParameterError, match=words):
        connect_new(cloud.runtime, pool, cloud.rows(Host))
    assert cloud.simulator.folders["/mnt/more"].pool == "", "nothing of it is left"
    assert all(pool.id not in shared.host(number).shared for number in (1, 2))


def test_a_host_that_does_not_answer_is_named(shared: Shared) -> None:
    cloud = shared.cloud
    cloud.simulator.faults.fail("put_pool", AgentUnreachable("host host2", "no route"))
    pool = StoragePool(zone_id=cloud.zone_id, name="more", path="/mnt/more", scope="ZONE")
    with pytest.raises(Unavailable, match="no route"):
        connect_new(cloud.runtime, pool, cloud.rows(Host))


def test_a_pool_that_is_no_more_is_given_up_by_hosts_that_were_away(shared: Shared) -> None:
    cloud = shared.cloud
    cloud.run(names.DESTROY_VM, vm_id=shared.vm_id, expunge=True)
    shared.change(StoragePool, shared.pool.id, removed=cloud.clock())
    tidy_pools(cloud.runtime, shared.infos())
    assert [shared.host(number).shared for number in (1, 2)] == [{}, {}]
    assert shared.folder.pool == ""


def test_offerings_say_local_or_shared(shared: Shared) -> None:
    with shared.cloud.runtime.database.reading() as session:
        chosen = {
            kind: place_volume(session, shared.cloud.host_id, 1, Wish(kind)).scope
            for kind in ("local", "shared", "")
        }
        assert chosen == {"local": "HOST", "shared": "ZONE", "": "HOST"}
        session.get_one(StoragePool, shared.pool.id).state = "Maintenance"
        with pytest.raises(NoCapacity, match="pool shared is Maintenance"):
            place_volume(session, shared.cloud.host_id, 1, Wish("shared"))


def pool_of(cloud: SmallCloud, host_id: str) -> str:
    return next(str(row.id) for row in cloud.rows(StoragePool) if row.host_id == host_id)


def test_disks_of_a_stopped_vm_go_from_pool_to_pool(shared: Shared) -> None:
    """Shared to a host's own, to the host's other one, to shared again, each time with what is in them."""
    cloud, root = shared.cloud, shared.root
    shared.folder.snapshots[root.id].add("written by the guest")
    cloud.run(names.STOP_VM, vm_id=shared.vm_id)
    place = {"zone_id": cloud.zone_id, "host_id": shared.other, "capacity": 1 << 40}
    own, second = pool_of(cloud, shared.other), cloud.add(StoragePool(**place, name="2", path="second"))
    shared.host(2).pools["second"] = (1 << 40, 1 << 40)
    for pool_id in (own, second.id, shared.pool.id):
        cloud.run(names.MOVE_VOLUMES, vm_id=shared.vm_id, pools={root.id: pool_id})
        assert (shared.root.pool_id, shared.root.state) == (pool_id, "Ready")
        places = [shared.folder, shared.host(1), shared.host(2), *shared.host(2).more.values()]
        (files,) = (files for files in places if root.id in files.volumes)
        assert files.snapshots[root.id] == {"written by the guest"}
        assert not files.kept, "a root disk goes with its VM, wherever it is"
        assert examine(cloud.runtime) == []
    cloud.run(names.START_VM, vm_id=shared.vm_id, host_id=shared.other)
    assert shared.vm.host_id == shared.other


def test_a_copy_in_the_other_pool_of_a_host_is_never_taken_for_the_volume(shared: Shared) -> None:
    """What a move left behind, its answer lost, is old: the doctor names it, the loop removes it."""
    cloud, root, first = shared.cloud, shared.root, shared.host(1)
    cloud.run(names.STOP_VM, vm_id=shared.vm_id)
    old = HostVolume(id=root.id, pool="primary", bytes=1, allocated=0)
    first.volumes[root.id] = old
    assert {finding.id for finding in examine(cloud.runtime)} == {root.id}
    first.snapshots[root.id].add("of the old file")
    cloud.run(names.MOVE_VOLUMES, vm_id=shared.vm_id, pools={root.id: pool_of(cloud, shared.other)})
    assert shared.host(2).snapshots[root.id] == set(), "fetched from the pool that its row names"
    assert first.volumes[root.id] is old
    tidy(cloud.runtime)
    assert root.id not in first.volumes
    assert root.id in shared.host(2).volumes
    assert examine(cloud.runtime) == []


def test_disks_of_one_vm_stay_where_one_host_reaches_them(shared: Shared) -> None:
    cloud, root = shared.cloud, shared.root
    owner = {"account_id": cloud.account_id, "domain_id": cloud.domain_id, "zone_id": cloud.zone_id}
    here, there = pool_of(cloud, cloud.host_id), pool_of(cloud, shared.other)
    data = cloud.add(Volume(**owner, name="data", size=1, vm_id=shared.vm_id, pool_id=here, state="Ready"))
    with cloud.runtime.database.reading() as session:
        vm = session.get_one(Vm, shared.vm_id)
        for fine in ({root.id: here}, {data.id: there}, {data.id: shared.pool.id}):
            refuse_apart(session, vm, fine)
        with pytest.raises(ParameterError, match="other volumes on the same host"):
            refuse_apart(session, vm, {root.id: there})
    with cloud.runtime.database.writing() as session:
        session.execute(delete(PoolHost).where(PoolHost.host_id == shared.other))
    with (
        cloud.runtime.database.reading() as session,
        pytest.raises(ParameterError, match="other volumes on the same host"),
    ):
        refuse_apart(session, session.get_one(Vm, shared.vm_id), {data.id: there})
