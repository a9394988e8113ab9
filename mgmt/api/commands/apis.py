"""listApis: every command the caller may use, with parameters and the tree of its answer.

CloudMonkey, SDK generators and others make themselves of it.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from mgmt.api.access import EVERYONE, Ref
from mgmt.api.call import Call
from mgmt.api.lists import PlainListCommand
from mgmt.api.params import Parameter, wrong_value
from mgmt.api.registry import REGISTRY, Registered, Response, Spec, plain
from mgmt.api.responses.discovery import ApiField, ApiParameter, ApiResponse
from mgmt.api.words import describe
from mgmt.store.tables.base import Identified

PLAIN_TYPES = {str: "string", int: "integer", float: "float", bool: "boolean", datetime: "tzdate"}


class ListApis(PlainListCommand, kw_only=True, frozen=True):
    """Lists the commands that the caller may use."""

    spec = Spec(answer=ApiResponse, key="api", access=EVERYONE)

    name: Annotated[str | None, "list only the command of this name"] = None

    def items(self, call: Call) -> Sequence[Response]:
        """The caller's commands, all on one page unless paging was asked for."""
        rights = call.context.roles.of(call.caller)
        simulated = call.context.config.simulated_hosts
        mine = [
            item for item in REGISTRY.all() if rights.allows(item) and (simulated or not item.spec.simulated)
        ]
        if self.name is None:
            return [describe_command(item.name) for item in mine]
        found = [describe_command(item.name) for item in mine if item.name == self.name]
        if not found:
            raise wrong_value("name", self.name, "the name of a command you may use")
        return found

    def window(self) -> tuple[int, int | None]:
        """Clients ask for all at once, without paging, however many there are."""
        return super().window() if self.page is not None else (0, None)


@cache
def describe_command(name: str) -> ApiResponse:
    """A command as listApis shows it."""
    found = REGISTRY.find(name)
    assert found is not None, name  # noqa: S101 (the names come from the registry)
    fields = describe_fields(found.spec.response)
    if found.command.is_async:
        fields = [*fields, *(_field(item, "string") for item in ("jobid", "jobstatus"))]
    return ApiResponse(
        name=found.name,
        description=found.description,
        isasync=found.command.is_async,
        params=[_parameter(item) for item in found.parameters],
        response=fields,
        related=related(found),
    )


def related(registered: Registered) -> str | None:
    """Other commands that answer with the same."""
    names = [
        item.name
        for item in REGISTRY.all()
        if item.spec.entity is not None
        and item.spec.entity is registered.spec.entity
        and item.name != registered.name
    ]
    return ",".join(names) or None


def describe_fields(response: type[Response]) -> list[ApiField]:
    """The fields of an answer, with those of the structs inside."""
    hints = get_type_hints(response, include_extras=True)
    fields = []
    for item in msgspec.structs.fields(response):
        kind, inner = _kind_of(hints[item.name])
        field = _field(item.encode_name, kind)
        if inner is not None:
            field.response = [plain(sub) for sub in describe_fields(inner)]
        fields.append(field)
    return fields


def _field(name: str, kind: str) -> ApiField:
    return ApiField(name=name, description=describe(name), type=kind)


def _kind_of(hint: Any) -> tuple[str, type[Response] | None]:
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if get_origin(hint) in (Union, UnionType):
        return _kind_of(next(arm for arm in get_args(hint) if arm is not NoneType))
    origin = get_origin(hint) or hint
    if origin is list:
        arguments = get_args(hint)
        return "list", arguments[0] if arguments and _is_response(arguments[0]) else None
    if origin is dict:
        return "map", None
    if _is_response(hint):
        return "object", hint
    return PLAIN_TYPES.get(origin, "string"), None


def _is_response(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Response)


def _parameter(parameter: Parameter) -> ApiParameter:
    ref = parameter.mark(Ref)
    kind, _ = _kind_of(parameter.base)
    if kind == "list" and parameter.base == list[dict[str, str]]:
        kind = "map"
    return ApiParameter(
        name=parameter.name,
        description=parameter.description,
        type="uuid" if ref is not None and kind == "string" else kind,
        length=parameter.length,
        required=parameter.required,
        related=_lists_of(ref.table) if ref is not None else None,
    )


@cache
def _lists_of(table: type[Identified]) -> str | None:
    """The list commands in which ids of this table are found: completion asks them."""
    names = [
        item.name
        for item in REGISTRY.all()
        if item.name.startswith("list") and item.spec.entity is not None and item.spec.entity.table is table
    ]
    return ",".join(names) or None
