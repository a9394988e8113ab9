"""VM snapshots by the API: what is made, what is refused, what they forbid."""

from typing import Any

import pytest

from mgmt.model.errors import ParameterError, PermissionDenied, Unavailable
from mgmt.store import tables
from tests.unit.mgmt.api.commands.world import World

pytestmark = pytest.mark.unit


@pytest.fixture
def vm(world: World) -> tables.Vm:
    made = world.vm(world.network())
    owner = {"account_id": made.account_id, "domain_id": made.domain_id, "zone_id": made.zone_id}
    world.add(
        tables.Volume(**owner, vm_id=made.id, name="root", kind="ROOT", size=1, device=0, state="Ready")
    )
    return made


def change(world: World, row: Any, **columns: Any) -> None:
    with world.context.database.writing() as session:
        for name, value in columns.items():
            setattr(session.get_one(type(row), row.id), name, value)


def take(world: World, vm: tables.Vm, **more: Any) -> tables.VmSnapshot:
    made = world.call("createVMSnapshot", virtualmachineid=vm.id, **more)
    row: tables.VmSnapshot = world.get(tables.VmSnapshot, made["id"])
    return row


def test_a_snapshot_is_made_of_a_running_vm(world: World, vm: tables.Vm) -> None:
    row = take(world, vm, name="before", description="the upgrade", snapshotmemory="true")
    job = world.last_job()
    assert (job.workflow, job.arguments) == (
        "create_vm_snapshot", {"snapshot_id": row.id, "vm_id": vm.id},
    )  # fmt: skip
    assert (job.lock_key, job.instance_type) == (vm.id, "VMSnapshot"), "jobs of one VM take turns"
    (shown,) = world.call("listVMSnapshot", virtualmachineid=vm.id)["vmSnapshot"]
    expected = {"type": "DiskAndMemory", "state": "Creating", "displayname": "before", "current": False}
    assert expected.items() <= shown.items()
    change(world, row, state="Ready", is_current=True)
    child = take(world, vm)
    assert child.parent_id == row.id
    assert child.display_name.startswith("i-web-10_VS_")
    found = world.call("listVMSnapshot", vmsnapshotid=child.id)["vmSnapshot"]
    assert [(one["parent"], one["parentName"]) for one in found] == [(row.id, "before")]
    assert world.call("listVMSnapshot", name="before")["count"] == 1
    assert world.call("listVMSnapshot", "bob") == {}


@pytest.mark.parametrize(
    ("state", "sent", "words"),
    [
        ("Starting", {}, "only a Running or Stopped one"),
        ("Stopped", {"snapshotmemory": "true"}, "needs a Running one"),
        ("Running", {"quiescevm": "true"}, "needs an agent in the guest"),
        ("Running", {"name": "x" * 256}, "name"),
    ],
)
def test_what_cannot_be_kept(
    world: World, vm: tables.Vm, state: str, sent: dict[str, str], words: str
) -> None:
    change(world, vm, state=state)
    with pytest.raises(ParameterError, match=words):
        take(world, vm, **sent)


def test_names_numbers_and_owners(world: World, vm: tables.Vm) -> None:
    row = take(world, vm, name="one")
    with pytest.raises(Unavailable, match="VM snapshot one of VM web is Creating"):
        take(world, vm)
    change(world, row, state="Ready")
    with pytest.raises(ParameterError, match="has a VM snapshot one already"):
        take(world, vm, name="one")
    world.call("updateConfiguration", "admin", name="vmsnapshot.max", value=1)
    with pytest.raises(ParameterError, match=r"the most that vmsnapshot\.max allows"):
        take(world, vm, name="two")
    for command in ("deleteVMSnapshot", "revertToVMSnapshot"):
        with pytest.raises(PermissionDenied):
            world.call(command, "bob", vmsnapshotid=row.id)
    fresh = world.vm(world.network(name="other"), name="fresh", at=11)
    with pytest.raises(ParameterError, match="has never run"):
        take(world, fresh)


def test_going_back_keeps_the_state_of_the_vm(world: World, vm: tables.Vm) -> None:
    row = take(world, vm, name="disks")
    change(world, row, state="Ready")
    with pytest.raises(ParameterError, match="keeps Disk: only a Stopped VM can go back to it"):
        world.call("revertToVMSnapshot", vmsnapshotid=row.id)
    change(world, vm, state="Stopped")
    world.call("revertToVMSnapshot", vmsnapshotid=row.id)
    job = world.last_job()
    assert (job.workflow, job.instance_id, job.lock_key) == ("revert_to_vm_snapshot", vm.id, vm.id)
    assert world.get(tables.VmSnapshot, row.id).state == "Reverting"
    with pytest.raises(ParameterError, match="is Reverting"):
        world.call("deleteVMSnapshot", vmsnapshotid=row.id)
    change(world, row, state="Ready", kind="DiskAndMemory")
    with pytest.raises(ParameterError, match="only a Running VM can go back to it"):
        world.call("revertToVMSnapshot", vmsnapshotid=row.id)
    world.call("deleteVMSnapshot", vmsnapshotid=row.id)
    assert world.last_job().workflow == "delete_vm_snapshot"


def test_a_vm_with_snapshots_keeps_its_disks_and_size(world: World, vm: tables.Vm) -> None:
    change(world, take(world, vm), state="Ready")
    (root,) = world.call("listVolumes", virtualmachineid=vm.id)["volume"]
    sent = {"zoneid": world.ids["zone"], "diskofferingid": world.ids["disk_offering"], "size": 1}
    data = world.call("createVolume", name="d", **sent)["id"]
    attach = {"id": data, "virtualmachineid": vm.id}
    for command, form, words in (
        ("attachVolume", attach, "no volume can be attached"),
        ("createVolume", {"name": "e", **sent, "virtualmachineid": vm.id}, "no volume can be attached"),
        ("resizeVolume", {"id": root["id"], "size": 9}, "cannot be resized"),
        ("restoreVirtualMachine", {"virtualmachineid": vm.id}, "cannot be restored"),
        (
            "addNicToVirtualMachine",
            {"virtualmachineid": vm.id, "networkid": world.network(name="second").id},
            "no NIC can be added",
        ),
    ):
        with pytest.raises(ParameterError, match=f"has 1 VM snapshot, so .*{words}.*: remove them first"):
            world.call(command, **form)
    change(world, world.get(tables.Volume, data), vm_id=vm.id, device=1, state="Ready")
    with pytest.raises(ParameterError, match="cannot be detached"):
        world.call("detachVolume", id=data)
    change(world, vm, state="Stopped")
    offering = world.ids["service_offering"]
    for command in ("changeServiceForVirtualMachine", "scaleVirtualMachine"):
        with pytest.raises(ParameterError, match="its size cannot change"):
            world.call(command, id=vm.id, serviceofferingid=offering)


def test_snapshots_have_tags(world: World, vm: tables.Vm) -> None:
    row = take(world, vm)
    tag = {"tags[0].key": "why", "tags[0].value": "upgrade"}
    world.call("createTags", resourcetype="VMSnapshot", resourceids=row.id, **tag)
    (shown,) = world.call("listVMSnapshot", **tag)["vmSnapshot"]
    assert [(one["key"], one["value"]) for one in shown["tags"]] == [("why", "upgrade")]
