"""VMs and volumes to other hosts by the API: what is submitted, what is refused."""

from dataclasses import dataclass
from typing import Any

import pytest

from mgmt.model.errors import InUse, NoCapacity, ParameterError, UnknownCommand
from mgmt.store import tables
from tests.unit.mgmt.api.commands.world import World

pytestmark = pytest.mark.unit
GIB = 1 << 30


@dataclass
class Hosts:
    """Two hosts with a pool each, and alice's VM with a disk on the first."""

    world: World
    here: str
    there: str
    pool_here: str
    pool_there: str
    vm: tables.Vm
    root: str

    def change(self, table: type[Any], row_id: str, **columns: Any) -> None:
        with self.world.context.database.writing() as session:
            for name, value in columns.items():
                setattr(session.get_one(table, row_id), name, value)

    def data(self, pool: str, **more: Any) -> str:
        owner = {"account_id": self.vm.account_id, "domain_id": self.vm.domain_id, "zone_id": self.vm.zone_id}
        row = tables.Volume(**owner, name="data", size=GIB, pool_id=pool, state="Ready", **more)
        self.world.add(row)
        return row.id


@pytest.fixture
def hosts(world: World) -> Hosts:
    zone = world.ids["zone"]
    pod = tables.Pod(zone_id=zone, name="p", gateway="g", netmask="m", start_ip="10.0.0.1", end_ip="10.0.0.2")
    world.add(pod)
    cluster = tables.Cluster(zone_id=zone, pod_id=pod.id, name="c")
    world.add(cluster)
    place = {"zone_id": zone, "pod_id": pod.id, "cluster_id": cluster.id}
    made = []
    for name in ("here", "there"):
        sizes = {"cpus": 4, "memory_mib": 4096, "port": 1, "tunnel_port": 2, "relay_port": 3}
        host = tables.Host(**place, **sizes, name=name, address=name, state="Up")
        world.add(host)
        pool = tables.StoragePool(**place, host_id=host.id, name=f"on {name}", path="p", capacity=9 * GIB)
        world.add(pool)
        made += [host.id, pool.id]
    vm = world.vm(world.network())
    found = Hosts(world, made[0], made[2], made[1], made[3], vm, "")
    found.change(tables.Vm, vm.id, host_id=made[0])
    found.root = found.data(made[1], vm_id=vm.id, kind="ROOT", device=0)
    return found


def test_a_running_vm_moves_to_a_host(hosts: Hosts) -> None:
    world, vm = hosts.world, hosts.vm
    world.call("migrateVirtualMachine", "admin", virtualmachineid=vm.id, hostid=hosts.there)
    job = world.last_job()
    assert (job.workflow, job.arguments) == (
        "migrate_vm", {"vm_id": vm.id, "host_id": hosts.there, "pools": {}},
    )  # fmt: skip
    world.call("migrateVirtualMachine", "admin", virtualmachineid=vm.id)
    assert world.last_job().arguments["host_id"] is None
    found = world.call("findHostsForMigration", "admin", virtualmachineid=vm.id)["host"]
    assert [(host["name"], host["requiresStorageMotion"]) for host in found] == [("there", True)]
    names = [host["name"] for host in world.call("listHosts", "admin", virtualmachineid=vm.id)["host"]]
    assert names == ["there"]


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"hostid": "here"}, "is on host here already"),
        ({"hostid": "there", "storageid": "pool_there"}, "not both"),
        ({"autoselect": "false"}, "Send hostid, or autoselect=true"),
        ({"storageid": "pool_there"}, "only a Stopped one"),
        ({"hostid": "vm"}, "hostid"),
    ],
)
def test_what_does_not_move(hosts: Hosts, sent: dict[str, str], words: str) -> None:
    ids = {"here": hosts.here, "there": hosts.there, "pool_there": hosts.pool_there, "vm": hosts.vm.id}
    form = {name: ids.get(value, value) for name, value in sent.items()}
    with pytest.raises(ParameterError, match=words):
        hosts.world.call("migrateVirtualMachine", "admin", virtualmachineid=hosts.vm.id, **form)
    with pytest.raises(UnknownCommand):
        hosts.world.call("migrateVirtualMachine", "alice", virtualmachineid=hosts.vm.id)


def test_a_host_must_have_room_and_the_vm_no_snapshots(hosts: Hosts) -> None:
    vm = hosts.vm
    hosts.change(tables.Host, hosts.there, memory_mib=512)
    with pytest.raises(NoCapacity, match="here is where it runs"):
        hosts.world.call("migrateVirtualMachine", "admin", virtualmachineid=vm.id)
    owner = {"account_id": vm.account_id, "domain_id": vm.domain_id, "zone_id": vm.zone_id}
    hosts.world.add(tables.VmSnapshot(**owner, vm_id=vm.id, name="s", display_name="s", state="Ready"))
    with pytest.raises(ParameterError, match="has 1 VM snapshot, so its disks cannot move"):
        hosts.world.call("migrateVirtualMachine", "admin", virtualmachineid=vm.id)


def test_a_vm_moves_with_volumes_into_chosen_pools(hosts: Hosts) -> None:
    world, vm = hosts.world, hosts.vm
    to = {"migrateto[0].volume": hosts.root, "migrateto[0].pool": hosts.pool_there}
    world.call("migrateVirtualMachineWithVolume", "admin", virtualmachineid=vm.id, **to)
    arguments = {"vm_id": vm.id, "host_id": hosts.there, "pools": {hosts.root: hosts.pool_there}}
    assert world.last_job().arguments == arguments
    stray = hosts.data(hosts.pool_here)
    for sent, words in (
        ({}, "Send hostid, migrateto, or autoselect"),
        ({**to, "hostid": hosts.here}, "pools of other hosts"),
        ({"migrateto[0].volume": hosts.root}, "needs volume and pool"),
        ({**to, "migrateto[0].volume": stray}, "a volume of VM web"),
        ({**to, "migrateto[0].pool": hosts.vm.id}, r"migrateto\[0\]\.pool"),
    ):
        with pytest.raises(ParameterError, match=words):
            world.call("migrateVirtualMachineWithVolume", "admin", virtualmachineid=vm.id, **sent)


def test_volumes_move_while_no_vm_runs_with_them(hosts: Hosts) -> None:
    world = hosts.world
    sent = {"volumeid": hosts.root, "storageid": hosts.pool_there}
    with pytest.raises(
        ParameterError, match="is Running: send livemigrate=true to move it meanwhile, or stop"
    ):
        world.call("migrateVolume", "admin", **sent)
    hosts.change(tables.Vm, hosts.vm.id, state="Stopped", host_id=None, last_host_id=hosts.here)
    world.call("migrateVolume", "admin", **sent)
    job = world.last_job()
    arguments = {"vm_id": hosts.vm.id, "pools": {hosts.root: hosts.pool_there}}
    assert (job.workflow, job.arguments, job.lock_key) == ("move_volumes", arguments, hosts.vm.id)
    data = hosts.data(hosts.pool_here, vm_id=hosts.vm.id, device=1)
    with pytest.raises(ParameterError, match="has other volumes on the same host"):
        world.call("migrateVolume", "admin", **sent)
    world.call("migrateVirtualMachine", "admin", virtualmachineid=hosts.vm.id, storageid=hosts.pool_there)
    assert set(world.last_job().arguments["pools"]) == {hosts.root, data}
    to = {"migrateto[0].volume": hosts.root, "migrateto[0].pool": hosts.pool_there}
    with pytest.raises(ParameterError, match="names no pool for data of VM web"):
        world.call("migrateVirtualMachineWithVolume", "admin", virtualmachineid=hosts.vm.id, **to)
    to |= {"migrateto[1].volume": data, "migrateto[1].pool": hosts.pool_there}
    world.call("migrateVirtualMachineWithVolume", "admin", virtualmachineid=hosts.vm.id, **to)
    job = world.last_job()
    pools = dict.fromkeys((hosts.root, data), hosts.pool_there)
    assert (job.workflow, job.arguments) == ("move_volumes", {"vm_id": hosts.vm.id, "pools": pools})
    free = hosts.data(hosts.pool_here)
    with pytest.raises(ParameterError, match="already"):
        world.call("migrateVolume", "admin", volumeid=free, storageid=hosts.pool_here)
    found = world.call("findStoragePoolsForMigration", "admin", id=free)["storagepool"]
    assert [(pool["name"], pool["suitableformigration"]) for pool in found] == [("on there", True)]
    hosts.change(tables.Host, hosts.there, state="Alert")
    found = world.call("findStoragePoolsForMigration", "admin", id=free)["storagepool"]
    assert [pool["suitableformigration"] for pool in found] == [False]
    with pytest.raises(ParameterError, match="host there is Alert"):
        world.call("migrateVolume", "admin", volumeid=free, storageid=hosts.pool_there)
    hosts.change(tables.Host, hosts.there, state="Up")
    hosts.change(tables.StoragePool, hosts.pool_there, capacity=1)
    with pytest.raises(NoCapacity, match="has promised"):
        world.call("migrateVolume", "admin", volumeid=free, storageid=hosts.pool_there)
    hosts.change(tables.Volume, free, state="Migrating")
    with pytest.raises(InUse, match="is Migrating"):
        world.call("migrateVolume", "admin", volumeid=free, storageid=hosts.pool_there)


def more_pools(hosts: Hosts) -> tuple[str, str]:
    """A second pool of the host that is here, and one that the other one shares with nobody yet."""
    zone = hosts.vm.zone_id
    second = tables.StoragePool(zone_id=zone, host_id=hosts.here, name="2", path="q", capacity=9 * GIB)
    shared = tables.StoragePool(zone_id=zone, name="s", path="/mnt/s", scope="ZONE", capacity=9 * GIB)
    for pool in (second, shared):
        hosts.world.add(pool)
    hosts.world.add(tables.PoolHost(pool_id=shared.id, host_id=hosts.there))
    return second.id, shared.id


def test_a_running_vms_volume_moves_to_pools_that_its_host_reaches(hosts: Hosts) -> None:
    world, vm = hosts.world, hosts.vm
    second, shared = more_pools(hosts)
    sent = {"volumeid": hosts.root, "livemigrate": "true"}
    for pool in (hosts.pool_there, shared):
        with pytest.raises(
            ParameterError, match="host here, on which VM web runs, does not reach storage pool"
        ):
            world.call("migrateVolume", "admin", **sent, storageid=pool)
    found = world.call("findStoragePoolsForMigration", "admin", id=hosts.root)["storagepool"]
    assert [pool["name"] for pool in found if pool["suitableformigration"]] == ["2"]
    world.add(tables.PoolHost(pool_id=shared, host_id=hosts.here))
    to = {"migrateto[0].volume": hosts.root, "migrateto[0].pool": second, "hostid": hosts.here}
    for pool, call in (
        (second, lambda: world.call("migrateVolume", "admin", **sent, storageid=second)),
        (shared, lambda: world.call("migrateVolume", "admin", **sent, storageid=shared)),
        (
            second,
            lambda: world.call("migrateVirtualMachineWithVolume", "admin", virtualmachineid=vm.id, **to),
        ),
    ):
        call()
        job = world.last_job()
        arguments = {"vm_id": vm.id, "pools": {hosts.root: pool}}
        assert (job.workflow, job.arguments, job.lock_key) == ("move_running_volumes", arguments, vm.id)
    owner = {"account_id": vm.account_id, "domain_id": vm.domain_id, "zone_id": vm.zone_id}
    kept = tables.VmSnapshot(**owner, vm_id=vm.id, name="s", display_name="s", state="Ready")
    world.add(kept)
    with pytest.raises(ParameterError, match="has 1 VM snapshot, so its disks cannot move"):
        world.call("migrateVolume", "admin", **sent, storageid=second)
    hosts.change(tables.VmSnapshot, kept.id, removed=vm.created)
    hosts.change(tables.Host, hosts.here, state="Alert")
    with pytest.raises(ParameterError, match="host here is Alert"):
        world.call("migrateVolume", "admin", **sent, storageid=second)
    hosts.change(tables.Vm, vm.id, state="Stopping")
    with pytest.raises(InUse, match="is Stopping: try again later"):
        world.call("migrateVolume", "admin", **sent, storageid=second)


@pytest.mark.parametrize("state", ["Running", "Stopped", ""])
def test_a_pool_needs_the_tags_of_the_volumes_offering(hosts: Hosts, state: str) -> None:
    """`state` is that of its VM; detached without."""
    world = hosts.world
    second, _shared = more_pools(hosts)
    offering = tables.DiskOffering(name="o", display_text="o", disk_bytes=GIB, tags=["fast", "safe"])
    world.add(offering)
    data = hosts.data(hosts.pool_here, offering_id=offering.id, **({"vm_id": hosts.vm.id} if state else {}))
    hosts.change(tables.Vm, hosts.vm.id, state=state or "Running")
    sent = {"volumeid": data, "storageid": second, "livemigrate": "true"}
    with pytest.raises(ParameterError, match="storage pool 2 lacks the offering's storage tags fast, safe"):
        world.call("migrateVolume", "admin", **sent)
    with pytest.raises(
        ParameterError, match="storage pool on here lacks the offering's storage tags fast, safe"
    ):
        world.call("resizeVolume", "alice", id=data, diskofferingid=offering.id)


def test_volumes_move_within_a_host_and_to_where_hosts_share(hosts: Hosts) -> None:
    world = hosts.world
    hosts.change(tables.Vm, hosts.vm.id, state="Stopped", host_id=None, last_host_id=hosts.here)
    second, shared = more_pools(hosts)
    world.call("migrateVolume", "admin", volumeid=hosts.root, storageid=second)
    assert world.last_job().arguments["pools"] == {hosts.root: second}, "within one host, too"
    hosts.change(tables.Host, hosts.there, state="Alert")
    with pytest.raises(ParameterError, match="no host that is Up reaches storage pool s"):
        world.call("migrateVolume", "admin", volumeid=hosts.root, storageid=shared)
    hosts.change(tables.Host, hosts.there, state="Up")
    world.call("migrateVolume", "admin", volumeid=hosts.root, storageid=shared)
    assert world.last_job().arguments["pools"] == {hosts.root: shared}
    to = {"migrateto[0].volume": hosts.root, "migrateto[0].pool": shared}
    world.call("migrateVirtualMachineWithVolume", "admin", virtualmachineid=hosts.vm.id, **to)
    assert world.last_job().arguments == {"vm_id": hosts.vm.id, "pools": {hosts.root: shared}}
    hosts.change(tables.Vm, hosts.vm.id, state="Running", host_id=hosts.here)
    with pytest.raises(ParameterError, match="on here to s needs a stopped VM"):
        world.call(
            "migrateVirtualMachineWithVolume", "admin", virtualmachineid=hosts.vm.id, hostid=hosts.there, **to
        )
