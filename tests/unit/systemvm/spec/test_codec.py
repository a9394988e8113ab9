"""Documents survive JSON, tell all their mistakes at once, and never show a secret."""

import json
import types
import typing
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from systemvm.spec import codec
from systemvm.spec.appliances import Console, Storage, TemplateStatus
from systemvm.spec.bootstrap import Bootstrap
from systemvm.spec.host import ConfigDisk, Domain, DomainStatus, HostInfo, HostState, TemplatePull
from systemvm.spec.network import GuestMetadata, GuestPassword, Metadata
from systemvm.spec.state import State
from systemvm.spec.ticket import Ticket
from systemvm.spec.types import ProbeResult, Problem, Secret

pytestmark = pytest.mark.unit

DOCUMENTS = [
    State,
    HostState,
    Domain,
    Bootstrap,
    Ticket,
    Console,
    Storage,
    TemplateStatus,
    DomainStatus,
    HostInfo,
    Problem,
    ProbeResult,
]
MACHINE = "0f8fad5b-d9cb-469f-a165-70867728950e"


def documents(annotation: Any) -> st.SearchStrategy[Any]:
    """Any document of a type, made from the type itself."""
    if typing.get_origin(annotation) is Annotated:
        meta = next(item for item in annotation.__metadata__ if isinstance(item, msgspec.Meta))
        if meta.pattern:
            return st.from_regex(meta.pattern, fullmatch=True)
        if meta.ge is not None:
            return st.integers(int(meta.ge), int(meta.le) if meta.le is not None else 2**40)
        return documents(annotation.__origin__)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*(documents(argument) for argument in arguments))
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return st.lists(documents(arguments[0]), max_size=2).map(tuple)
        return st.tuples(*(documents(argument) for argument in arguments))
    if origin is dict:
        return st.dictionaries(st.text(max_size=5), documents(arguments[1]), max_size=2)
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        fields = {field.name: documents(field.type) for field in msgspec.structs.fields(annotation)}
        return st.builds(annotation, **fields)
    return st.from_type(annotation) if annotation is not float else st.floats(0, 1e6)


@pytest.mark.parametrize("kind", DOCUMENTS, ids=lambda kind: kind.__name__)
def test_round_trip(kind: type[msgspec.Struct]) -> None:
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(documents(kind))
    def check(document: msgspec.Struct) -> None:
        raw = codec.encode(document)
        assert codec.decode(raw, kind) == document
        assert codec.encode(codec.decode(raw, kind)) == raw
        assert codec.problems(raw, kind) == []

    check()


def mistaken() -> dict[str, Any]:
    return {
        "version": 1,
        "generation": 0,
        "machine": "router-1",
        "role": "toaster",
        "interfaces": {
            "nics": [
                {
                    "mac": "00:11",
                    "name": "eth0",
                    "purpose": "guest",
                    "addresses": ["10.1.1.1", "10.1.1.1/24"],
                },
                5,
            ],
            "forwarding": "yes",
        },
        "nftables": {
            "port_forwards": [
                {
                    "id": MACHINE,
                    "public": "nowhere",
                    "protocol": "tcp",
                    "public_ports": {"first": 80, "last": 70000},
                    "private": "10.1.1.5",
                    "private_ports": {"first": 80, "last": 80},
                }
            ]
        },
        "zork": 1,
    }


def test_all_mistakes_at_once_each_with_its_path() -> None:
    found = {
        problem.path: problem.message for problem in codec.problems(json.dumps(mistaken()).encode(), State)
    }
    assert set(found) == {
        "generation",
        "machine",
        "role",
        "hostname",
        "interfaces.nics[0].mac",
        "interfaces.nics[0].addresses[0]",
        "interfaces.nics[1]",
        "interfaces.forwarding",
        "nftables.port_forwards[0].public",
        "nftables.port_forwards[0].public_ports.last",
        "zork",
    }
    assert "70000" in found["nftables.port_forwards[0].public_ports.last"]
    assert "missing" in found["hostname"]
    assert "unknown field; State has version, generation" in found["zork"]


@pytest.mark.parametrize(("raw", "word"), [(b"", "not JSON"), (b"{", "not JSON"), (b"\xff", "not JSON")])
def test_what_is_not_json(raw: bytes, word: str) -> None:
    (problem,) = codec.problems(raw, State)
    assert problem.path == "$"
    assert word in problem.message
    with pytest.raises(codec.DocumentError, match=word):
        codec.decode(raw, State)


@pytest.mark.parametrize("raw", [b"[]", b"null", b"3", b'"x"'])
def test_what_is_no_object(raw: bytes) -> None:
    (problem,) = codec.problems(raw, State)
    assert (problem.path, "Expected `object`" in problem.message) == ("$", True)


@pytest.mark.parametrize("value", ["10.1.1.1\n", "10.1.1.1 ", "\n10.1.1.1"])
def test_a_line_break_is_no_part_of_an_address(value: str) -> None:
    raw = json.dumps({"address": value}).encode()
    assert [problem.path for problem in codec.problems(raw, GuestMetadata)] == ["address"]


def test_decode_names_the_same_path() -> None:
    with pytest.raises(codec.DocumentError) as caught:
        codec.decode(b'{"address": 7}', GuestMetadata)
    assert caught.value.problem.path == "address"


def test_a_wrong_secret_is_not_quoted() -> None:
    raw = json.dumps({"id": MACHINE, "value": 31337}).encode()
    (problem,) = codec.problems(raw, GuestPassword)
    assert problem.path == "value"
    assert "31337" not in problem.message


def test_a_tagged_union_is_taken_apart_by_its_tag() -> None:
    class Cat(msgspec.Struct, tag_field="kind", tag="cat", forbid_unknown_fields=True):
        lives: int

    class Dog(msgspec.Struct, tag_field="kind", tag="dog", forbid_unknown_fields=True):
        tricks: tuple[str, ...]
        name: str

    raw = b'{"kind": "dog", "tricks": ["sit", 3], "lives": 9}'
    found = {problem.path for problem in codec.problems(raw, Cat | Dog)}  # type: ignore[arg-type]
    assert found == {"tricks[1]", "name", "lives"}
    (unknown,) = codec.problems(b'{"kind": "cow"}', Cat | Dog)  # type: ignore[arg-type]
    assert "cow" in unknown.message
    assert codec.problems(b'{"kind": "cat", "lives": 9}', Cat | Dog) == []  # type: ignore[arg-type]


def test_redact_finds_secrets_wherever_they_are() -> None:
    class Everywhere(msgspec.Struct):
        optional: Secret | None
        several: tuple[Secret, ...]
        named: dict[str, Secret]
        deep: tuple[ConfigDisk, ...]
        open: tuple[str, ...]

    document = Everywhere(
        "s1", ("s2", "s3"), {"a": "s4"}, (ConfigDisk(label="L", files={"f": "s5"}),), ("o",)
    )
    redacted = codec.redact(document)
    assert redacted == {
        "optional": codec.REDACTED,
        "several": [codec.REDACTED, codec.REDACTED],
        "named": {"a": codec.REDACTED},
        "deep": [{"label": "L", "files": {"f": codec.REDACTED}}],
        "open": ["o"],
    }


def test_redact_of_real_documents() -> None:
    metadata = Metadata(
        guests=(
            GuestMetadata(
                address="10.1.1.5",
                user_data="c2VjcmV0",
                meta_data={"local-hostname": "one"},
                password=GuestPassword(id=MACHINE, value="pa55"),
            ),
        )
    )
    text = json.dumps(codec.redact(metadata))
    assert "pa55" not in text
    assert "c2VjcmV0" not in text
    assert "local-hostname" in text
    assert codec.redact(TemplatePull(template="t"))["url"] == ""
    assert codec.redact(TemplatePull(template="t", url="https://x?ticket=1"))["url"] == codec.REDACTED
