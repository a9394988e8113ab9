"""Annotations, resource details and figures: who sees what."""

from typing import Any

import pytest

from mgmt.model.errors import CloudError
from mgmt.store.tables import Vm
from tests.unit.mgmt.api.commands.world import World

pytestmark = pytest.mark.unit


@pytest.fixture
def vm(world: World) -> Vm:
    return world.vm(world.network())


def texts(world: World, caller: str, **parameters: Any) -> list[str]:
    answer = world.call("listAnnotations", caller, **parameters)
    return sorted(item["annotation"] for item in answer.get("annotation", []))


def annotate(world: World, caller: str, vm: Vm, text: str, **more: Any) -> dict[str, Any]:
    sent = {"entitytype": "vm", "entityid": vm.id, "annotation": text} | more
    made: dict[str, Any] = world.call("addAnnotation", caller, **sent)["annotation"]
    return made


def test_notes_are_seen_by_whom_they_are_for(world: World, vm: Vm) -> None:
    mine = annotate(world, "alice", vm, "do not touch")
    assert (mine["entitytype"], mine["entityname"], mine["username"]) == ("VM", "web", "alice")
    secret = annotate(world, "admin", vm, "pays late", adminsonly="true")
    annotate(world, "admin", vm, "moved\nto host 2")
    assert texts(world, "alice") == ["do not touch", "moved\nto host 2"]
    assert texts(world, "bob") == []
    assert texts(world, "admin", entitytype="VM", entityid=vm.id) == sorted(
        ["do not touch", "moved\nto host 2", "pays late"]
    )
    assert texts(world, "admin", annotationfilter="self", keyword="LATE") == ["pays late"]
    assert texts(world, "alice", id=mine["id"]) == ["do not touch"]
    with pytest.raises(CloudError, match="does not have permission"):
        texts(world, "alice", id=secret["id"])
    changed = world.call("updateAnnotationVisibility", "admin", id=secret["id"], adminsonly="false")
    assert changed["annotation"]["adminsonly"] is False
    assert len(texts(world, "alice")) == 3


def test_notes_are_removed_by_their_author_or_root(world: World, vm: Vm) -> None:
    theirs = annotate(world, "admin", vm, "moved")
    mine = annotate(world, "alice", vm, "x")
    with pytest.raises(CloudError, match="does not have permission"):
        world.call("removeAnnotation", id=theirs["id"])
    world.call("removeAnnotation", id=mine["id"])
    world.call("removeAnnotation", "admin", id=theirs["id"])
    assert texts(world, "admin") == []


@pytest.mark.parametrize(
    ("caller", "more", "words"),
    [
        ("bob", {}, "does not have permission"),
        ("alice", {"entitytype": "CAR"}, "Invalid value CAR for parameter entitytype"),
        ("alice", {"entityid": "none"}, "Invalid parameter entityid value=none"),
        ("alice", {"adminsonly": "true"}, "Only administrators write notes for administrators"),
        ("alice", {"annotation": ""}, "missing parameter annotation"),
        ("alice", {"entitytype": "ZONE"}, "Invalid parameter entityid"),
    ],
)
def test_wrong_notes(world: World, vm: Vm, caller: str, more: dict[str, str], words: str) -> None:
    with pytest.raises(CloudError, match=words):
        annotate(world, caller, vm, "x", **more)


def details(world: World, caller: str, kind: str, row_id: str, **more: Any) -> dict[str, str]:
    answer = world.call("listResourceDetails", caller, resourcetype=kind, resourceid=row_id, **more)
    return {item["key"]: item["value"] for item in answer.get("resourcedetail", [])}


def add_detail(world: World, kind: str, row_id: str, key: str, value: str, **more: Any) -> None:
    sent = {"resourcetype": kind, "resourceid": row_id, "details[0].key": key, "details[0].value": value}
    job = world.call("addResourceDetail", "admin", **sent, **more)
    assert world.call("queryAsyncJobResult", "admin", jobid=job["jobid"])["jobresult"] == {"success": True}


def test_details_of_a_vm_are_its_own(world: World, vm: Vm) -> None:
    add_detail(world, "UserVm", vm.id, "colour", "red")
    add_detail(world, "uservm", vm.id, "rack", "7")
    assert details(world, "alice", "UserVm", vm.id) == {"colour": "red", "rack": "7"}
    (listed,) = world.call("listVirtualMachines", id=vm.id)["virtualmachine"]
    assert listed["details"]["colour"] == "red"
    assert details(world, "alice", "UserVm", vm.id, key="rack") == {"rack": "7"}
    sent = {"resourcetype": "UserVm", "resourceid": vm.id}
    world.call("removeResourceDetail", "admin", **sent, key="rack")
    assert details(world, "alice", "UserVm", vm.id) == {"colour": "red"}
    with pytest.raises(CloudError, match="has no detail rack"):
        world.call("removeResourceDetail", "admin", **sent, key="rack")
    with pytest.raises(CloudError, match="does not have permission"):
        details(world, "bob", "UserVm", vm.id)


def test_hidden_details_are_hidden(world: World, vm: Vm) -> None:
    network = vm.account_id and world.call("listNetworks")["network"][0]["id"]
    add_detail(world, "Network", network, "vendor", "acme", fordisplay="false")
    add_detail(world, "Network", network, "floor", "2")
    add_detail(world, "Network", network, "floor", "3")
    assert details(world, "alice", "Network", network) == {"floor": "3"}
    assert details(world, "admin", "Network", network) == {"floor": "3", "vendor": "acme"}
    assert details(world, "admin", "Network", network, fordisplay="false") == {"vendor": "acme"}
    world.call("removeResourceDetail", "admin", resourcetype="Network", resourceid=network)
    assert details(world, "admin", "Network", network) == {}


@pytest.mark.parametrize("command", ["addResourceDetail", "removeResourceDetail"])
def test_tenants_edit_no_details(world: World, vm: Vm, command: str) -> None:
    sent = {"resourcetype": "UserVm", "resourceid": vm.id, "details[0].key": "a", "details[0].value": "b"}
    with pytest.raises(CloudError) as refused:
        world.call(command, "alice", **sent)
    assert refused.value.code in (432, 531)


def test_figures(world: World, vm: Vm) -> None:
    counts = world.call("listInfrastructure", "admin")["infrastructure"]
    assert (counts["zones"], counts["hosts"], counts["imagestores"]) == (1, 0, 1)
    (zone,) = world.call("listZonesMetrics", "admin")["zone"]
    assert (zone["clusters"], zone["memorytotal"], zone["cpuallocated"]) == ("0 / 0", "0.00 GB", "0.00%")
    plain = world.call("listVirtualMachines", id=vm.id)
    assert world.call("listVirtualMachinesMetrics", id=vm.id) == plain
    assert world.call("listVirtualMachinesMetrics", "bob", listall="true") == {}
    volume = {
        "name": "v",
        "diskofferingid": world.ids["disk_offering"],
        "size": 2,
        "zoneid": world.ids["zone"],
    }
    world.call("createVolume", **volume)
    (listed,) = world.call("listVolumesMetrics", name="v")["volume"]
    assert listed["sizegb"] == "2.00 GB"
