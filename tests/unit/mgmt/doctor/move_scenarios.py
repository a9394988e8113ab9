"""VMs and volumes that move between hosts, cut at every step."""

from mgmt.ops import names
from mgmt.store.tables import Host, StoragePool, Vm, Volume
from tests.unit.mgmt.doctor.scenarios import Arguments, Scenario, refused, stopped_vm, town, volume_to_delete
from tests.unit.mgmt.small_cloud import SmallCloud, add_host, add_shared_pool


def vm_to_move(cloud: SmallCloud) -> Arguments:
    vm = town(cloud).vm
    owner = {"account_id": cloud.account_id, "domain_id": cloud.domain_id, "zone_id": cloud.zone_id}
    data = cloud.add(Volume(**owner, name="data", size=1 << 30))
    cloud.run(names.ATTACH_VOLUME, volume_id=data.id, vm_id=vm.id)
    return {"vm_id": vm.id, "host_id": add_host(cloud)}


def other_pool(cloud: SmallCloud) -> str:
    host_id = add_host(cloud)
    return next(str(pool.id) for pool in cloud.rows(StoragePool) if pool.host_id == host_id)


def volume_to_move(cloud: SmallCloud) -> Arguments:
    volume_id = volume_to_delete(cloud)["volume_id"]
    return {"pools": {volume_id: other_pool(cloud)}}


def disks_to_move(cloud: SmallCloud) -> Arguments:
    vm_id = stopped_vm(cloud)["vm_id"]
    pool_id = other_pool(cloud)
    return {"vm_id": vm_id, "pools": {row.id: pool_id for row in cloud.rows(Volume) if row.vm_id == vm_id}}


def storage_vm_to_move(cloud: SmallCloud) -> Arguments:
    return {
        "vm_id": next(row.id for row in cloud.rows(Vm) if row.kind == "storage"),
        "host_id": add_host(cloud),
    }


def host_to_empty(cloud: SmallCloud) -> Arguments:
    vm_to_move(cloud)
    with cloud.runtime.database.writing() as session:
        session.get_one(Host, cloud.host_id).resource_state = "PrepareForMaintenance"
    assert any(row.kind == "user" for row in cloud.rows(Vm))
    return {"host_id": cloud.host_id}


def in_shared_pool(cloud: SmallCloud) -> Arguments:
    """A running VM in a pool that another host reaches too."""
    there = add_host(cloud)
    add_shared_pool(cloud)
    return {"vm_id": town(cloud).vm.id, "host_id": there}


def to_start_elsewhere(cloud: SmallCloud) -> Arguments:
    arguments = in_shared_pool(cloud)
    cloud.run(names.STOP_VM, vm_id=arguments["vm_id"])
    return arguments


def disks_to_share(cloud: SmallCloud) -> Arguments:
    """A stopped VM whose disk goes from its host's own pool to one that the host shares."""
    vm_id = stopped_vm(cloud)["vm_id"]
    pool = add_shared_pool(cloud)
    return {"vm_id": vm_id, "pools": {row.id: pool.id for row in cloud.rows(Volume) if row.vm_id == vm_id}}


def running_disks(cloud: SmallCloud) -> Arguments:
    """A running VM with a root and a data disk, which go to a pool that its host shares."""
    arguments = vm_to_move(cloud)
    pool, vm_id = add_shared_pool(cloud), arguments["vm_id"]
    return {"vm_id": vm_id, "pools": {row.id: pool.id for row in cloud.rows(Volume) if row.vm_id == vm_id}}


MOVES = (
    Scenario(names.MOVE_RUNNING_VOLUMES, running_disks, "move disks of a running VM"),
    Scenario(
        names.MOVE_RUNNING_VOLUMES, refused("move_disk", running_disks), "move running disks, refused", False
    ),
    Scenario(names.MOVE_VOLUMES, disks_to_share, "move disks to a shared pool of the same host"),
    Scenario(names.START_VM, to_start_elsewhere, "start on another host over a shared pool"),
    Scenario(names.MIGRATE_VM, in_shared_pool, "migrate VM over a shared pool"),
    Scenario(names.MIGRATE_VM, vm_to_move, "migrate VM"),
    Scenario(names.MIGRATE_VM, refused("put_landing", vm_to_move), "migrate VM, refused there", False),
    Scenario(names.MIGRATE_VM, refused("depart", vm_to_move), "migrate VM, refused here", False),
    Scenario(names.MOVE_VOLUMES, volume_to_move, "move detached volume"),
    Scenario(names.MOVE_VOLUMES, disks_to_move, "move disks of a stopped VM"),
    Scenario(names.MOVE_VOLUMES, refused("fetch_volume", disks_to_move), "move disks, refused", False),
    Scenario(names.MIGRATE_SYSTEM_VM, storage_vm_to_move, "move storage VM with its data"),
    Scenario(names.PREPARE_HOST, host_to_empty, "empty a host of guests"),
)
