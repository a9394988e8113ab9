"""VM snapshots, cut at every step."""

from collections.abc import Callable

from mgmt.ops import names
from mgmt.store.tables import Vm, VmSnapshot
from tests.unit.mgmt.doctor.scenarios import Arguments, Scenario, refused, stopped_vm, town
from tests.unit.mgmt.small_cloud import SmallCloud


def snapshot_to_make(cloud: SmallCloud, vm_id: str = "", kind: str = "DiskAndMemory") -> Arguments:
    vm = cloud.row(Vm, vm_id or town(cloud).vm.id)
    owner = {"account_id": vm.account_id, "domain_id": vm.domain_id, "zone_id": vm.zone_id}
    row = cloud.add(VmSnapshot(**owner, vm_id=vm.id, name="s", display_name="s", kind=kind))
    return {"snapshot_id": row.id, "vm_id": vm.id}


def snapshot_of_stopped(cloud: SmallCloud) -> Arguments:
    return snapshot_to_make(cloud, stopped_vm(cloud)["vm_id"], "Disk")


def snapshot_made(state: str, first: Callable[[SmallCloud], Arguments]) -> Callable[[SmallCloud], Arguments]:
    """A snapshot that a command is about to work on."""

    def prepared(cloud: SmallCloud) -> Arguments:
        arguments = first(cloud)
        cloud.run(names.CREATE_VM_SNAPSHOT, **arguments)
        with cloud.runtime.database.writing() as session:
            session.get_one(VmSnapshot, arguments["snapshot_id"]).state = state
        return arguments

    return prepared


def expunged_with_snapshot(cloud: SmallCloud) -> Arguments:
    arguments = snapshot_to_make(cloud)
    cloud.run(names.CREATE_VM_SNAPSHOT, **arguments)
    return {"vm_id": arguments["vm_id"], "expunge": True}


SNAPSHOTS = (
    Scenario(names.CREATE_VM_SNAPSHOT, snapshot_to_make, "make VM snapshot with memory"),
    Scenario(names.CREATE_VM_SNAPSHOT, snapshot_of_stopped, "make VM snapshot of a stopped VM"),
    Scenario(
        names.CREATE_VM_SNAPSHOT,
        refused("put_snapshot", snapshot_to_make),
        "make VM snapshot, refused",
        succeeds=False,
    ),
    Scenario(
        names.REVERT_VM_SNAPSHOT, snapshot_made("Reverting", snapshot_to_make), "go back to VM snapshot"
    ),
    Scenario(
        names.REVERT_VM_SNAPSHOT,
        refused("revert", snapshot_made("Reverting", snapshot_of_stopped)),
        "go back to VM snapshot of a stopped VM, refused",
        succeeds=False,
    ),
    Scenario(names.DELETE_VM_SNAPSHOT, snapshot_made("Expunging", snapshot_to_make), "delete VM snapshot"),
    Scenario(
        names.DELETE_VM_SNAPSHOT,
        refused("delete_snapshot", snapshot_made("Expunging", snapshot_to_make)),
        "delete VM snapshot, refused",
        succeeds=False,
    ),
    Scenario(names.DESTROY_VM, expunged_with_snapshot, "destroy and expunge a VM with a VM snapshot"),
)
