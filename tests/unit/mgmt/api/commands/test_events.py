"""Events: who sees them, what belongs together, archived and deleted ones."""

from typing import Any

import pytest

from mgmt.model.errors import CloudError
from mgmt.store.events import start_event_id
from mgmt.store.tables import Event, Vm
from tests.unit.mgmt.api.commands.world import World

pytestmark = pytest.mark.unit


def add_events(world: World, caller: str, *types: str) -> list[str]:
    who = world.callers[caller]
    rows = [
        Event(
            type=kind,
            description=f"{kind} of {caller}",
            user_id=who.user.id,
            account_id=who.account.id,
            domain_id=who.domain.id,
        )
        for kind in types
    ]
    world.add(*rows)
    return [row.id for row in rows]


def types(world: World, caller: str = "alice", **parameters: Any) -> list[str]:
    return sorted(item["type"] for item in world.call("listEvents", caller, **parameters).get("event", []))


def test_an_asynchronous_command_starts_a_family_of_events(world: World) -> None:
    vm = world.vm(world.network())
    job_id = world.call("stopVirtualMachine", "admin", id=vm.id)["jobid"]
    (event,) = world.call("listEvents", "alice", type="VM.STOP")["event"]
    assert (event["id"], event["state"]) == (start_event_id(job_id), "Scheduled")
    assert (event["resourceid"], event["resourcetype"]) == (vm.id, "VirtualMachine")
    assert (event["account"], event["username"]) == ("alice", "admin"), "it is about alice's VM"
    (child,) = add_events(world, "alice", "VM.STOP")
    with world.context.database.writing() as session:
        session.get_one(Event, child).parent_id = event["id"]
    assert len(types(world, startid=event["id"])) == 2
    assert types(world, parentid=event["id"]) == ["VM.STOP"]
    with pytest.raises(CloudError, match="does not have permission"):
        world.call("listEvents", "bob", startid=event["id"])


def test_events_of_a_resource(world: World) -> None:
    vm = world.vm(world.network())
    world.call("updateVirtualMachine", id=vm.id, displayname="x")
    assert types(world, resourceid=vm.id, resourcetype="VirtualMachine") == ["VM.UPDATE"]
    assert world.get(Vm, vm.id).display_name == "x"


def test_archived_events_are_listed_if_asked_for(world: World) -> None:
    first, _second = add_events(world, "alice", "A", "B")
    assert world.call("archiveEvents", ids=first) == {"success": True}
    assert types(world) == ["B"]
    assert types(world, archived="true") == ["A", "B"]
    listed = world.call("listEvents", archived="true", type="A")["event"]
    assert [item["archived"] for item in listed] == [True]
    world.call("deleteEvents", type="A")
    assert types(world, archived="true") == ["B"]


@pytest.mark.parametrize("command", ["archiveEvents", "deleteEvents"])
def test_nobody_touches_the_events_of_others(world: World, command: str) -> None:
    (mine,) = add_events(world, "alice", "A")
    add_events(world, "bob", "A")
    with pytest.raises(CloudError, match="does not have permission"):
        world.call(command, "bob", ids=mine)
    world.call(command, "bob", type="A")
    assert types(world, "alice") == ["A"]
    assert types(world, "bob") == []
    world.call(command, "admin", enddate="2099-01-01")
    assert types(world, "alice") == []


def test_somebody_must_say_which_and_when(world: World) -> None:
    for command in ("archiveEvents", "deleteEvents"):
        with pytest.raises(CloudError, match="send ids, type or enddate"):
            world.call(command)
    for command in ("archiveEvents", "listEvents"):
        with pytest.raises(CloudError, match="is before startdate"):
            world.call(command, startdate="2026-02-01", enddate="2026-01-01")


def test_types_of_events_are_listed(world: World) -> None:
    known = {item["name"] for item in world.call("listEventTypes")["eventtype"]}
    assert {"VM.STOP", "SYSTEMVM.RESTART", "CONFIGURATION.VALUE.EDIT"} <= known
