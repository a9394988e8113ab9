"""What holds for every command."""

from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import pytest

from mgmt.api.access import EVERYONE, Ref
from mgmt.api.app import load_commands
from mgmt.api.commands.apis import describe_command
from mgmt.api.params import parse_hint
from mgmt.api.registry import REGISTRY, AsyncCommand, Registered, Registry, Response, Spec, SyncCommand
from mgmt.api.words import described
from mgmt.store.tables import LoginSession
from tests.unit.mgmt.api.decoding import FACTS, MISTYPED, wrong_types

pytestmark = pytest.mark.unit

load_commands()
ALL = REGISTRY.all()

#: What the clients' types say of ours, and which of ours go with it.
COMPATIBLE = {
    "string": {"str"},
    "int": {"int"},
    "int64": {"int"},
    "float64": {"float", "int"},
    "bool": {"bool"},
    "map[string]string": {"dict"},
    "UUID": {"str"},
}
#: Fields that the SDK lacks (and skips): Ansible's and libcloud's, and our own words on states and jobs.
EXTRA = {
    "startport",
    "endport",
    "jobstep",
    "secondaryip",
    "statereason",
    "privatekey",
    "domainpath",
    "keypair",
}


KINDS = {"boolean", "float", "integer", "list", "map", "object", "string", "tzdate", "uuid"}


def bare(hint: Any) -> Any:
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if get_origin(hint) in (Union, UnionType):
        (hint,) = (arm for arm in get_args(hint) if arm is not NoneType)
    return hint


def mismatches(response: type[Response], facts: dict[str, Any], where: str) -> list[str]:
    found = []
    for name, hint in get_type_hints(response, include_extras=True).items():
        kind, fact = bare(hint), facts.get(name)
        if name in EXTRA and name not in facts:
            continue
        if fact is None:
            found.append(f"{where}.{name} is not a field that clients know")
        elif isinstance(fact, list):
            found += list_mismatches(kind, fact[0], f"{where}.{name}")
        elif isinstance(fact, dict):
            found += mismatches(kind, fact, f"{where}.{name}")
        elif fact in COMPATIBLE and (get_origin(kind) or kind).__name__ not in COMPATIBLE[fact]:
            found.append(f"{where}.{name} is {kind}, clients decode {fact}")
    return found


def list_mismatches(kind: Any, fact: Any, where: str) -> list[str]:
    if get_origin(kind) is not list:
        return [f"{where} is {kind}, clients decode a list"]
    (inner,) = get_args(kind)
    if isinstance(fact, dict):
        return mismatches(inner, fact, where)
    return [] if inner.__name__ in COMPATIBLE.get(fact, {inner.__name__}) else [f"{where}[] is {inner}"]


@pytest.mark.parametrize("registered", ALL, ids=lambda item: item.name)
def test_every_field_has_the_type_that_clients_decode(registered: Registered) -> None:
    """The Go SDK fails a whole call on one wrong scalar type."""
    shape = FACTS["commands"].get(registered.name)
    assert shape is not None, f"add the types of {registered.name} to field_types.json"
    if registered.name in MISTYPED:
        return
    problems = mismatches(registered.spec.response, FACTS["shapes"][shape], registered.name)
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", 5),
        ("cpunumber", "1"),
        ("haenable", "true"),
        ("memory", True),
        ("details", {"a": 1}),
        ("nic", {}),
    ],
)
def test_what_the_sdk_cannot_decode_is_found(field: str, value: Any) -> None:
    """So the check of all answers in the stories of the reference finds something."""
    good = {
        "id": "x",
        "cpunumber": 1,
        "haenable": True,
        "memory": 1,
        "details": {"a": "1"},
        "nic": [{"mtu": 1}],
    }
    assert wrong_types("listVirtualMachines", {"count": 1, "virtualmachine": [good]}) == []
    (problem,) = wrong_types("listVirtualMachines", {"count": 1, "virtualmachine": [{**good, field: value}]})
    assert f".{field} is" in problem


@pytest.mark.parametrize("registered", ALL, ids=lambda item: item.name)
def test_every_command_is_described_for_the_clis(registered: Registered) -> None:
    """cmk panics and cloudmonkey dies without these."""
    described = describe_command(registered.name)
    assert described.description
    assert len(described.description) > 10
    for parameter in described.params:
        assert parameter.name == parameter.name.lower()
        assert parameter.description, parameter.name
        assert parameter.type in KINDS
        assert parameter.length > 0
    assert all(field.name and field.type and field.description for field in described.response)


@pytest.mark.parametrize("registered", ALL, ids=lambda item: item.name)
def test_every_parameter_has_words_of_its_own(registered: Registered) -> None:
    for parameter in registered.parameters:
        assert parameter.mark(str) or described(parameter.name), (
            f"describe {parameter.name}, or add it to words"
        )


def test_an_id_of_a_table_without_a_policy_cannot_be_registered() -> None:
    class Peek(SyncCommand, kw_only=True, frozen=True):
        """Peeks into sessions."""

        id: Annotated[str, Ref(LoginSession)]  # type: ignore[arg-type]

    registry = Registry()
    Peek.spec = Spec(access=EVERYONE)
    registry.add(Peek)
    with pytest.raises(TypeError, match="LoginSession, which has no policy"):
        registry.all()


def test_two_commands_of_one_name_cannot_be_registered() -> None:
    class ListZones(SyncCommand, kw_only=True, frozen=True):
        """Another."""

    ListZones.spec = Spec(access=EVERYONE)
    with pytest.raises(TypeError, match="two classes are called listZones"):
        REGISTRY.add(ListZones)


@pytest.mark.parametrize("registered", ALL, ids=lambda item: item.name)
def test_asynchronous_is_what_clients_have_baked_in(registered: Registered) -> None:
    assert issubclass(registered.command, AsyncCommand) == FACTS["async"][registered.name]


def test_hints_of_commands_are_understood() -> None:
    parameter = parse_hint("x", Annotated[str | None, Ref(LoginSession), "words"], required=False)  # type: ignore[arg-type]
    assert parameter.base is str
    assert parameter.description == "words"
