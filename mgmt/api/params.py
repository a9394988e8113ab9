"""Parameters: read from a command's type hints, converted from the text of a request.

A hint is `str`, `int`, `float`, `bool`, `datetime`, `list[str]`, `dict[str, str]` or
`list[dict[str, str]]`, optional or not, and may be `Annotated` with a description (a plain string), a
`Ref` (see `mgmt.api.access`), a filter (see `mgmt.api.lists`), `MULTILINE`, and a `msgspec.Meta` with
limits, which `msgspec` itself checks. A description that is a `NoEffect` or an `Unsupported` says that the
parameter does nothing, and why.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import cached_property
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import msgspec

from mgmt.api.words import describe
from mgmt.model.errors import MissingParameter, ParameterError


class Mark(Enum):
    """Marks without a value."""

    multiline = "a text that may hold line breaks and tabs"


MULTILINE = Mark.multiline
DEFAULT_LENGTH = 255
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
LINE_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
CREDENTIALS = re.compile(r"//[^/@\s]*@")
"""User and password in a URL: errors repeat it without them, because clients and proxies log errors."""
DATE_FORMATS = ("%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d")
MAP_KEY = re.compile(r"^(?P<name>[^\[\]]+)\[(?P<index>[^\[\]]*)\](?:\.(?P<key>.+))?$")
M = TypeVar("M")

EXPECTED: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    datetime: "a date as 2026-01-31T12:00:00+0000",
}


class NoEffect(str):
    """A description: the parameter is taken, as clients send it, and changes nothing; the text says why."""

    __slots__ = ()


class Unsupported(str):
    """A description: whoever asks for something by this parameter is refused; the text says why."""

    __slots__ = ()


NOTHING = (None, False, 0, "", "none")
"""Values of unsupported parameters that ask for nothing."""


@dataclass(frozen=True)
class Parameter:
    """One parameter: `base` is the type without None, `marks` what the hint was annotated with."""

    name: str
    base: Any
    required: bool
    marks: tuple[Any, ...] = ()

    @cached_property
    def description(self) -> str:
        """The words of the hint, or those every parameter of this name has."""
        words = self.mark(str) or describe(self.name)
        if isinstance(words, NoEffect):
            return f"no effect: {words}"
        return f"not supported: {words}" if isinstance(words, Unsupported) else words

    @cached_property
    def limits(self) -> tuple[msgspec.Meta, ...]:
        """What msgspec checks."""
        return tuple(mark for mark in self.marks if isinstance(mark, msgspec.Meta))

    @cached_property
    def length(self) -> int:
        """Most characters of a text."""
        return next((meta.max_length for meta in self.limits if meta.max_length is not None), DEFAULT_LENGTH)

    @cached_property
    def checked_type(self) -> Any:
        """The type with its limits, as msgspec checks it."""
        checked = self.base
        for meta in self.limits:
            checked = Annotated[checked, meta]
        return checked

    def mark(self, kind: type[M]) -> M | None:
        """The mark of a kind, if there is one."""
        return next((mark for mark in self.marks if isinstance(mark, kind)), None)


def parse_hint(name: str, hint: Any, *, required: bool) -> Parameter:
    """The parameter that a type hint declares."""
    marks: list[Any] = []
    while get_origin(hint) is Annotated:
        hint, *inner = get_args(hint)
        marks += inner
    if get_origin(hint) in (Union, UnionType):
        (hint,) = (arm for arm in get_args(hint) if arm is not NoneType)
    return Parameter(name=name, base=hint, required=required, marks=tuple(marks))


class Form:
    """The parameters of a request, names without regard to case; maps still in their flat form."""

    def __init__(self, pairs: Mapping[str, str]) -> None:
        self._flat = {name.lower(): value for name, value in pairs.items()}
        self._maps: dict[str, list[tuple[str, str, str]]] = {}
        for name, value in pairs.items():
            found = MAP_KEY.match(name)
            if found:
                entry = (found["index"], found["key"] or "", value)
                self._maps.setdefault(found["name"].lower(), []).append(entry)

    def text(self, name: str) -> str | None:
        """The text of a parameter, None if it is not there."""
        return self._flat.get(name)

    def entries(self, name: str) -> list[dict[str, str]]:
        """`name[0].a=x&name[0].b=y&name[1].a=z` as a list of maps, in the order of the request."""
        groups: dict[str, dict[str, str]] = {}
        for index, key, value in self._maps.get(name, []):
            groups.setdefault(index, {})[key] = value
        return list(groups.values())


def read_parameter(command: str, parameter: Parameter, form: Form) -> Any:
    """The value of a parameter in a request, None if it is not there.

    Raises `MissingParameter` for a required one, `ParameterError` for a wrong value.
    """
    origin = get_origin(parameter.base)
    if origin is dict or parameter.base == list[dict[str, str]]:
        value = _read_map(parameter, form)
    else:
        value = _read_plain(parameter, form.text(parameter.name))
    if value is None and parameter.required:
        text = f"Unable to execute API command {command.lower()} due to missing parameter {parameter.name}"
        raise MissingParameter(text)
    refusal = parameter.mark(Unsupported)
    if refusal is not None and value not in NOTHING:
        raise ParameterError(f"{parameter.name} is not supported: {refusal}; leave it away")
    return value


def _read_map(parameter: Parameter, form: Form) -> Any:
    entries = form.entries(parameter.name)
    _check_keys(parameter, form, entries)
    for text in (text for entry in entries for text in entry.values()):
        _check_text(parameter, text)
    if not entries:
        return None
    if parameter.base == list[dict[str, str]]:
        return [{key.lower(): value for key, value in entry.items()} for entry in entries]
    return merge_entries(entries)


def _check_keys(parameter: Parameter, form: Form, entries: list[dict[str, str]]) -> None:
    """Raise ParameterError for a map without keys (`tags=red`): left out, a filter would list everything."""
    bare = [entry[""] for entry in entries if "" in entry]
    text = form.text(parameter.name)
    if not entries and text and text != "None":
        bare = [text]
    if bare:
        shape = "{0}[0].key=NAME&{0}[0].value=VALUE" if parameter.name == "tags" else "{0}[0].NAME=VALUE"
        raise wrong_value(parameter.name, bare[0], shape.format(parameter.name))


def merge_entries(entries: list[dict[str, str]]) -> dict[str, str]:
    """One map of `[{key: a, value: x}]` (tags) or of `[{cpuNumber: 2}, {memory: 512}]` (details)."""
    merged: dict[str, str] = {}
    for entry in entries:
        lower = {key.lower(): value for key, value in entry.items()}
        if "key" in lower and set(lower) <= {"key", "value"}:
            merged[lower["key"]] = lower.get("value", "")
        else:
            merged.update(entry)
    return merged


def _read_plain(parameter: Parameter, text: str | None) -> Any:
    if text is None or (text == "" and (parameter.required or parameter.base is not str)):
        return None
    _check_text(parameter, text)
    if parameter.base is bool:
        return text.strip().lower() == "true"
    if parameter.base is datetime:
        return _read_date(parameter, text)
    value: Any = text
    if get_origin(parameter.base) is list:
        value = [item.strip() for item in text.split(",") if item.strip()]
    try:
        return msgspec.convert(value, parameter.checked_type, strict=False)
    except msgspec.ValidationError as error:
        expected = EXPECTED.get(parameter.base) if "got" in str(error) else None
        raise wrong_value(parameter.name, text, expected or _words(error)) from error


def _words(error: msgspec.ValidationError) -> str:
    words = str(error).removeprefix("Expected ")
    for kind, name in (("`int`", "a whole number"), ("`float`", "a number"), ("`str`", "a text")):
        words = words.replace(kind, name)
    return words.replace("`", "")


def _read_date(parameter: Parameter, text: str) -> datetime:
    for form in DATE_FORMATS:
        try:
            moment = datetime.strptime(text, form)
        except ValueError:
            continue
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    raise wrong_value(parameter.name, text, EXPECTED[datetime])


def _check_text(parameter: Parameter, text: str) -> None:
    forbidden = CONTROL if MULTILINE in parameter.marks else LINE_CONTROL
    if forbidden.search(text):
        message = f"The value of parameter {parameter.name} holds control characters, which are not allowed"
        raise ParameterError(message)
    if len(text) > parameter.length and get_origin(parameter.base) is not list:
        message = (
            f"The value of parameter {parameter.name} is {len(text)} characters long;"
            f" at most {parameter.length} are allowed"
        )
        raise ParameterError(message)


def wrong_value(name: str, value: object, expected: str) -> ParameterError:
    """The error for a parameter whose value is not what is expected."""
    shown = CREDENTIALS.sub("//(hidden)@", str(value))
    return ParameterError(f"Invalid value {shown} for parameter {name}: expected {expected}")


def unknown_entity(name: str, value: str) -> ParameterError:
    """The error for an id nobody has. Clients look for this very text to tell 'already gone'."""
    text = (
        f"Invalid parameter {name} value={value} due to incorrect long value format, or entity does not exist"
    )
    return ParameterError(text)
