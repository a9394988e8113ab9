"""Affinity groups, instance groups and user data by their commands."""

import base64
from email import message_from_bytes
from typing import Any

import pytest

from mgmt.model.errors import CloudError, InUse, ParameterError, PermissionDenied
from mgmt.store import tables
from tests.unit.mgmt.api.commands.world import World

pytestmark = pytest.mark.unit
SCRIPT = base64.b64encode(b"#cloud-config\nhostname: {{ ds.meta_data.site }}\n").decode()


def deploy(world: World, caller: str = "alice", **more: object) -> str:
    network = (
        next((row["id"] for row in world.call("listNetworks", caller).get("network", [])), None)
        or world.network(caller, name=f"net-{caller}").id
    )
    sent = {
        "zoneid": world.ids["zone"],
        "templateid": world.ids["template"],
        "serviceofferingid": world.ids["service_offering"],
        "networkids": network,
        **more,
    }
    return str(world.call("deployVirtualMachine", caller, **sent)["id"])


def vm_of(world: World, vm_id: str, caller: str = "alice") -> dict[str, Any]:
    (found,) = world.call("listVirtualMachines", caller, id=vm_id)["virtualmachine"]
    return dict(found)


def affinity_group(world: World, name: str, kind: str = "host anti-affinity", caller: str = "alice") -> str:
    return str(world.call("createAffinityGroup", caller, name=name, type=kind)["id"])


def test_an_affinity_group_from_creation_to_deletion(world: World) -> None:
    group = affinity_group(world, "apart")
    vm = deploy(world, affinitygroupnames="apart")
    listed = world.call("listAffinityGroups", virtualmachineid=vm)
    assert listed["count"] == 1
    assert listed["affinitygroup"][0]["virtualmachineIds"] == [vm]
    assert [(item["id"], item["type"]) for item in vm_of(world, vm)["affinitygroup"]] == [
        (group, "host anti-affinity")
    ]
    assert world.call("listVirtualMachines", affinitygroupid=group)["count"] == 1
    with pytest.raises(InUse, match="take it out with updateVMAffinityGroup"):
        world.call("deleteAffinityGroup", id=group)
    other = affinity_group(world, "near", "non-strict host affinity")
    world.call("updateVMAffinityGroup", id=vm, affinitygroupids=other)
    assert [item["name"] for item in vm_of(world, vm)["affinitygroup"]] == ["near"]
    world.call("deleteAffinityGroup", name="apart")
    world.call("updateVMAffinityGroup", id=vm)
    gone = deploy(world, affinitygroupnames="near")
    with world.context.database.writing() as session:
        session.get_one(tables.Vm, gone).state = "Destroyed"
    world.call("deleteAffinityGroup", name="near")
    assert vm_of(world, vm)["affinitygroup"] == []
    assert world.call("listAffinityGroups") == {}


def test_the_types_are_under_the_key_that_libcloud_reads(world: World) -> None:
    answer = world.call("listAffinityGroupTypes")
    assert {"type": "host anti-affinity"} in answer["affinityGroupType"]
    assert answer["count"] == 4


@pytest.mark.parametrize(
    ("command", "parameters", "words"),
    [
        ("createAffinityGroup", {"name": "x", "type": "rack affinity"}, "expected one of host affinity"),
        ("createAffinityGroup", {"name": "apart", "type": "host affinity"}, "exists already"),
        ("deleteAffinityGroup", {}, "either id or name"),
        ("deleteAffinityGroup", {"name": "nobody"}, "no affinity group named nobody"),
        ("createInstanceGroup", {"name": "web"}, "exists already"),
        ("registerUserData", {"name": "u", "userdata": SCRIPT}, "exists already"),
        ("registerUserData", {"name": "v", "userdata": "%%%"}, "base64"),
        ("registerUserData", {"name": "v", "userdata": SCRIPT, "params": "a/b"}, "letters, digits"),
        ("registerUserData", {"name": "v"}, "missing parameter userdata"),
    ],
)
def test_wrong_parameters(world: World, command: str, parameters: dict[str, str], words: str) -> None:
    affinity_group(world, "apart")
    world.call("createInstanceGroup", name="web")
    world.call("registerUserData", name="u", userdata=SCRIPT)
    with pytest.raises(ParameterError, match=words):
        world.call(command, **parameters)


def test_others_groups_and_data_are_not_for_me(world: World) -> None:
    group = affinity_group(world, "bobs", caller="bob")
    data = world.call("registerUserData", "bob", name="bobs", userdata=SCRIPT)["userdata"]["id"]
    instances = world.call("createInstanceGroup", "bob", name="bobs")["instancegroup"]["id"]
    for more in ({"affinitygroupids": group}, {"userdataid": data}):
        with pytest.raises(PermissionDenied):
            deploy(world, **more)
    for command, row in (
        ("deleteAffinityGroup", group),
        ("deleteUserData", data),
        ("updateInstanceGroup", instances),
        ("deleteInstanceGroup", instances),
    ):
        with pytest.raises(PermissionDenied):
            world.call(command, id=row)
    # An administrator may have both, but a VM is never mixed with another account's groups.
    with pytest.raises(ParameterError, match="belongs to another account than the VM"):
        deploy(world, "admin", affinitygroupids=group)
    with pytest.raises(ParameterError, match="belongs to another account than the VM"):
        deploy(world, "admin", userdataid=data)
    for command in ("listAffinityGroups", "listUserData", "listInstanceGroups"):
        assert world.call(command) == {}


def test_running_vms_keep_their_groups(world: World) -> None:
    vm = world.vm(world.network())
    with pytest.raises(ParameterError, match="web is Running; only a Stopped one can be put into other"):
        world.call("updateVMAffinityGroup", id=vm.id)


def test_instance_groups(world: World) -> None:
    vm = deploy(world, group="web")
    (group,) = world.call("listInstanceGroups", keyword="we")["instancegroup"]
    assert (vm_of(world, vm)["group"], vm_of(world, vm)["groupid"]) == ("web", group["id"])
    deploy(world, group="web")
    assert world.call("listVirtualMachines", groupid=group["id"])["count"] == 2
    world.call("updateInstanceGroup", id=group["id"], name="front")
    assert vm_of(world, vm)["group"] == "front"
    world.call("updateVirtualMachine", id=vm, group="")
    assert "group" not in vm_of(world, vm)
    world.call("updateVirtualMachine", id=vm, group="front")
    world.call("deleteInstanceGroup", id=group["id"])
    assert "groupid" not in vm_of(world, vm)
    assert world.call("listInstanceGroups") == {}


def test_user_data_is_registered_used_and_kept_while_in_use(world: World) -> None:
    made = world.call("registerUserData", name="u", userdata=SCRIPT, params="site,rack")["userdata"]
    assert (made["userdata"], made["params"]) == (SCRIPT, "site,rack")
    vm = deploy(world, userdataid=made["id"], **{"userdatadetails[0].site": "north"})
    shown = vm_of(world, vm)
    assert (shown["userdataid"], shown["userdataname"]) == (made["id"], "u")
    assert world.call("listVirtualMachines", userdataid=made["id"])["count"] == 1
    given = world.call("getVirtualMachineUserData", virtualmachineid=vm)["virtualmachineuserdata"]
    assert given["userdata"] == SCRIPT
    assert world.get(tables.Vm, vm).user_data_values == {"site": "north"}
    with pytest.raises(InUse, match="is used by VM"):
        world.call("deleteUserData", id=made["id"])
    world.call("resetUserDataForVirtualMachine", id=vm, userdata=SCRIPT)
    assert "userdataid" not in vm_of(world, vm)
    assert world.get(tables.Vm, vm).user_data_values == {}
    world.call("deleteUserData", id=made["id"])
    assert world.call("listUserData") == {}


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"userdatadetails[0].site": "x"}, "send that too"),
        ({"userdata": SCRIPT, "userdataid": "ID"}, "not both"),
        ({"userdataid": "ID", "userdatadetails[0].planet": "x"}, "has no variable planet; .* are: site"),
        ({"affinitygroupnames": "nobody"}, "no affinity group named nobody"),
        ({"affinitygroupnames": "apart", "affinitygroupids": "GROUP"}, "not both"),
    ],
)
def test_deploy_refuses_what_does_not_fit(world: World, parameters: dict[str, str], words: str) -> None:
    made = world.call("registerUserData", name="u", userdata=SCRIPT, params="site")["userdata"]["id"]
    known = {"ID": made, "GROUP": affinity_group(world, "apart")}
    with pytest.raises(CloudError, match=words):
        deploy(world, **{name: known.get(value, value) for name, value in parameters.items()})
    assert world.call("listVirtualMachines") == {}


OWN = base64.b64encode(b"#!/bin/sh\necho own\n").decode()


def linked(world: World, policy: str, caller: str = "admin") -> str:
    """User data that the VMs of the world's template get."""
    made = world.call("registerUserData", caller, name=policy, userdata=SCRIPT, params="site")["userdata"][
        "id"
    ]
    sent = {"templateid": world.ids["template"], "userdataid": made, "userdatapolicy": policy}
    world.call("linkUserDataToTemplate", caller, **sent)
    return str(made)


def given_user_data(world: World, vm: str) -> bytes:
    answer = world.call("getVirtualMachineUserData", virtualmachineid=vm)["virtualmachineuserdata"]
    return base64.b64decode(answer["userdata"])


def test_a_template_brings_its_user_data(world: World) -> None:
    made = linked(world, "ALLOWOVERRIDE")
    vm = deploy(world, **{"userdatadetails[0].site": "north"})
    assert given_user_data(world, vm) == base64.b64decode(SCRIPT)
    assert world.get(tables.Vm, vm).user_data_values == {"site": "north"}
    assert given_user_data(world, deploy(world, userdata=OWN)) == base64.b64decode(OWN)
    (template,) = world.call("listTemplates", "admin", templatefilter="self")["template"]
    shown = (template["userdataid"], template["userdataname"], template["userdatapolicy"])
    assert shown == (made, "ALLOWOVERRIDE", "ALLOWOVERRIDE")
    assert template["userdataparams"] == "site"
    with world.context.database.writing() as session:
        session.get_one(tables.Vm, vm).state = "Destroyed"
    with pytest.raises(InUse, match="is linked to template t; unlink it first"):
        world.call("deleteUserData", "admin", id=made)
    world.call("linkUserDataToTemplate", "admin", templateid=world.ids["template"])
    world.call("deleteUserData", "admin", id=made)
    assert "userdata" not in world.call(
        "getVirtualMachineUserData", virtualmachineid=deploy(world)
    )["virtualmachineuserdata"]  # fmt: skip


def test_a_template_may_forbid_other_user_data(world: World) -> None:
    linked(world, "denyoverride".upper())
    with pytest.raises(ParameterError, match="which VMs may not override"):
        deploy(world, userdata=OWN)
    assert given_user_data(world, deploy(world)) == base64.b64decode(SCRIPT)


@pytest.mark.parametrize(
    ("own", "types"),
    [
        (b"#!/bin/sh\n", ["text/x-shellscript"]),
        (b"\x1f\x8b\x08rest", ["application/gzip"]),
        (b"anything", ["text/plain"]),
        (
            b"Content-Type: multipart/mixed; boundary=x\n\n"
            b"--x\nContent-Type: text/cloud-config\n\na: b\n--x--\n",
            ["text/cloud-config"],
        ),
    ],
)
def test_a_template_may_add_its_user_data(world: World, own: bytes, types: list[str]) -> None:
    linked(world, "APPEND")
    vm = deploy(world, userdata=base64.b64encode(own).decode())
    message = message_from_bytes(given_user_data(world, vm))
    parts = [part for part in message.walk() if not part.is_multipart()]
    assert [part.get_content_type() for part in parts] == ["text/cloud-config", *types]
    assert parts[0].get_payload(decode=True) == base64.b64decode(SCRIPT)
    if not own.startswith(b"Content-Type"):
        assert parts[1].get_payload(decode=True) == own


def test_links_that_cannot_be(world: World) -> None:
    bobs = world.call("registerUserData", "bob", name="b", userdata=SCRIPT)["userdata"]["id"]
    template = world.ids["template"]
    for parameters, words in (
        ({}, "either templateid or isoid"),
        ({"templateid": template, "userdatapolicy": "maybe"}, "one of ALLOWOVERRIDE"),
        ({"templateid": template, "userdataid": bobs}, "belongs to another account than the template"),
    ):
        with pytest.raises(ParameterError, match=words):
            world.call("linkUserDataToTemplate", "admin", **parameters)
    with pytest.raises(PermissionDenied):
        world.call("linkUserDataToTemplate", "bob", templateid=template, userdataid=bobs)
