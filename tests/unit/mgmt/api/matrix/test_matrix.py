"""Every command, every parameter that is an id, every kind of owner and caller: the expected answer for each.

The handlers do not run here: whether one is reached is what is asked. What lists show is asked for real.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, get_origin

import pytest
from msgspec import Meta

from mgmt.api import dispatch
from mgmt.api.access import InnerRef, Ref
from mgmt.api.app import load_commands
from mgmt.api.lists import OwnedListCommand
from mgmt.api.params import Form, Parameter
from mgmt.api.registry import REGISTRY, Registered
from mgmt.api.testing import Api, open_api, read_answer
from mgmt.model.errors import CloudError, PermissionDenied, UnknownCommand
from mgmt.model.states import AccountType
from tests.unit.mgmt.api.matrix.people import CALLERS, Person, is_owned, may, populate, rules
from tests.unit.mgmt.api.matrix.rows import CANARY, Rows

pytestmark = pytest.mark.unit

load_commands()
COMMANDS = REGISTRY.all()
ABOUT_ONE = {"listLoadBalancerRuleInstances"}
"""Lists that want an id: the matrix above has them."""
EMPTY = {"listRouters", "listIsos", "listIpForwardingRules"}
"""Lists of what is not here: system VMs, ISOs, static NAT."""
LISTED = [
    pytest.param(item, name, id=f"{item.name}-{name}")
    for item in COMMANDS
    for name in (*CALLERS, "carol")
    if issubclass(item.command, OwnedListCommand)
    and item.name not in ABOUT_ONE
    and not any(parameter.required for parameter in item.parameters)
    and (name != "carol" or AccountType.user in item.spec.access)
]
REACHED = {"reached": True}


@dataclass
class World:
    """The people, and a row of every table that a parameter names for each of them."""

    api: Api
    people: dict[str, Person]
    rows: dict[tuple[type[Any], str], str]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with open_api(tmp_path_factory.mktemp("matrix")) as api:
        named = {
            table for item in COMMANDS for parameter in item.parameters for table in tables_of(parameter)
        }
        with api.context.database.writing() as session:
            people = populate(session)
            factory = Rows(session, people)
            rows = {(table, name): factory.of(table, who) for table in named for name, who in people.items()}
        yield World(api, people, rows)


def refs_of(parameter: Parameter) -> list[Ref | InnerRef]:
    return [mark for mark in parameter.marks if isinstance(mark, Ref | InnerRef)]


def tables_of(parameter: Parameter) -> list[type[Any]]:
    return [ref.table for ref in refs_of(parameter)]


def sample(parameter: Parameter) -> dict[str, str]:
    """A well-formed value of a parameter that is no id."""
    name, base = parameter.name, parameter.base
    if get_origin(base) is dict:
        return {f"{name}[0].key": "k", f"{name}[0].value": "v"}
    if get_origin(base) is list and base != list[str]:
        return {f"{name}[0].a": "b"}
    least = next((mark.ge for mark in parameter.marks if isinstance(mark, Meta) and mark.ge is not None), 1)
    return {name: {bool: "true", datetime: "2026-01-31", int: str(least), float: "1.5"}.get(base, "x")}


def named(parameter: Parameter, row_id: str) -> dict[str, str]:
    """A parameter whose value is an id."""
    ref, *_ = refs_of(parameter)
    return {f"{parameter.name}[0].{ref.key}" if isinstance(ref, InnerRef) else parameter.name: row_id}


def form(world: World, registered: Registered, caller: Person, about: Parameter, owner: Person) -> Form:
    """What the command requires, with the caller's own rows, and one parameter that names the owner's."""
    sent: dict[str, str] = {}
    for parameter in registered.parameters:
        if parameter.name == about.name or not parameter.required:
            continue
        if parameter.name == "account":
            sent["account"] = (owner if about.name == "domainid" else caller).account.name
            continue
        refs = tables_of(parameter)
        usable = "root" if refs and not is_owned(refs[0]) else caller.name
        sent |= named(parameter, world.rows[refs[0], usable]) if refs else sample(parameter)
    return Form(sent | named(about, world.rows[tables_of(about)[0], owner.name]))


def outcome(world: World, registered: Registered, caller: Person, sent: Form) -> Any:
    try:
        return dispatch.dispatch(world.api.context, caller.caller, registered, sent)
    except CloudError as error:
        return "an error that tells what a row holds" if CANARY in error.text else type(error)


CASES = [
    pytest.param(item, parameter, id=f"{item.name}-{parameter.name}")
    for item in COMMANDS
    for parameter in item.parameters
    if refs_of(parameter)
]


@pytest.mark.parametrize(("registered", "parameter"), CASES)
def test_an_id_is_reached_by_those_who_may(
    world: World, registered: Registered, parameter: Parameter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "_run", lambda *call: REACHED)
    ref, *_ = refs_of(parameter)
    wrong = []
    for caller in (world.people[name] for name in CALLERS):
        for owner in world.people.values():
            got = outcome(world, registered, caller, form(world, registered, caller, parameter, owner))
            expected: Any = REACHED if may(caller, ref.table, owner, use=ref.use) else PermissionDenied
            if caller.caller.type not in registered.spec.access:
                expected = UnknownCommand
            if got != expected:
                wrong.append(f"{caller.name} with {owner.name}'s: {got}, not {expected}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("registered", COMMANDS, ids=lambda item: item.name)
def test_nobody_gets_in_without_a_login(world: World, registered: Registered) -> None:
    if registered.name in ("login", "logout"):
        return
    sent = {"command": registered.name, "response": "json"}
    with world.api.counted() as statements:
        answer = read_answer(world.api.app.test_client().post("/client/api", data=sent))
    assert answer.status == 401, answer.body
    assert not [text for text in statements if text.startswith(("INSERT", "UPDATE", "DELETE"))]


@pytest.mark.parametrize(("registered", "name"), LISTED)
def test_a_list_shows_what_is_the_callers(world: World, registered: Registered, name: str) -> None:
    """`listall` shows all that the caller rules, and nothing of anybody else."""
    entity = registered.spec.entity
    assert entity is not None
    caller = world.people[name]
    sent = Form({"listall": "true", "isrecursive": "true"})
    body = dispatch.dispatch(world.api.context, caller.caller, registered, sent)
    shown = {item.get("id") for item in body.get(str(registered.spec.response_key), [])}
    for owner in world.people.values():
        row = world.rows[entity.table, owner.name]
        assert row not in shown or rules(caller, owner), f"{name} sees {owner.name}'s"
    assert shown or registered.name in EMPTY
