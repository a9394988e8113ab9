"""Sizes of system VMs and routers; management servers that are gone."""

from typing import Any

import pytest

from mgmt.model.errors import CloudError, ParameterError, UnknownCommand
from mgmt.store import tables
from mgmt.store.tables.base import now
from tests.unit.mgmt.api.commands.world import World

pytestmark = pytest.mark.unit
UNKNOWN = "11111111-2222-3333-4444-555555555555"
COMMANDS = ("changeServiceForSystemVm", "scaleSystemVm", "changeServiceForRouter")


def offering(world: World, kind: str) -> str:
    sent = {"name": kind, "displaytext": kind, "cpunumber": 1, "memory": 512, "issystem": True}
    made: str = world.call("createServiceOffering", "admin", **sent, systemvmtype=kind)["serviceoffering"][
        "id"
    ]
    return made


def machine(world: World, command: str, state: str = "Stopped") -> str:
    """A machine of the kind that the command is for."""
    kind, word = ("router", "domainrouter") if "Router" in command else ("console", "consoleproxy")
    admin = world.callers["admin"]
    with world.context.database.writing() as session:
        owner = {"account_id": admin.account.id, "domain_id": admin.domain.id}
        first = tables.ServiceOffering(
            name="first", display_text="f", cpus=1, memory=256, system_vm_type=word
        )
        session.add(first)
        session.flush()
        vm = tables.Vm(
            **owner,
            kind=kind,
            name="v-1",
            instance_name="v-1",
            zone_id=world.ids["zone"],
            offering_id=first.id,
        )
        vm.state = state
        session.add(vm)
        session.flush()
        return vm.id


@pytest.mark.parametrize("command", COMMANDS)
def test_a_stopped_one_gets_another_size(world: World, command: str) -> None:
    vm_id = machine(world, command)
    wanted = offering(world, "domainrouter" if "Router" in command else "consoleproxy")
    world.call(command, "admin", id=vm_id, serviceofferingid=wanted)
    assert world.get(tables.Vm, vm_id).offering_id == wanted


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("state", "sent", "error", "words"),
    [
        ("Running", {}, ParameterError, "v-1 is Running; only a Stopped one"),
        ("Stopped", {"serviceofferingid": "storage"}, ParameterError, "expected an active one for"),
        ("Stopped", {"serviceofferingid": UNKNOWN}, ParameterError, "entity does not exist"),
        ("Stopped", {"id": UNKNOWN}, ParameterError, "entity does not exist"),
        ("Stopped", {"caller": "alice"}, UnknownCommand, "does not exist or is not available"),
    ],
)
def test_who_and_what_it_is_not_for(
    world: World, command: str, state: str, sent: dict[str, str], error: type[CloudError], words: str
) -> None:
    vm_id = machine(world, command, state)
    known = {"storage": offering(world, "secondarystoragevm")}
    right = offering(world, "domainrouter" if "Router" in command else "consoleproxy")
    asked: dict[str, Any] = {"id": vm_id, "serviceofferingid": right, "caller": "admin", **sent}
    with pytest.raises(error, match=words):
        world.call(command, **{key: known.get(value, value) for key, value in asked.items()})
    assert world.get(tables.Vm, vm_id).offering_id != right


def test_a_management_server_that_is_gone_is_removed(world: World) -> None:
    facts = {"version": "1", "incarnation": "i", "address": "10.0.0.2", "kernel": "6", "processors": 2}
    times = {"started": now(), "last_seen": now()}
    up = tables.ManagementServer(name="up", **facts, **times)
    down = tables.ManagementServer(name="down", state="Down", **facts, **times)
    world.add(up, down)
    for caller, server, words in (
        ("admin", up.id, "Management server up is Up; stop it first"),
        ("admin", UNKNOWN, "entity does not exist"),
        ("alice", down.id, "not available"),
    ):
        with pytest.raises(CloudError, match=words):
            world.call("removeManagementServer", caller, id=server)
    assert world.call("removeManagementServer", "admin", id=down.id) == {"success": True}
    listed = world.call("listManagementServers", "admin")["managementserver"]
    assert "down" not in {row["name"] for row in listed}


def test_a_fixed_offering_takes_no_size(world: World) -> None:
    sent = {"name": "fixed", "displaytext": "f", "disksize": 4}
    fixed = world.call("createDiskOffering", "admin", **sent)["diskoffering"]["id"]
    volume = {"name": "d", "zoneid": world.ids["zone"], "diskofferingid": fixed}
    for size in (4, 5):
        with pytest.raises(ParameterError, match="fixed fixes the size"):
            world.call("createVolume", **volume, size=size)
    assert world.get(tables.Volume, world.call("createVolume", **volume)["id"]).size == 4 << 30
