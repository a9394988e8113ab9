"""Documents to JSON and back, their JSON Schema, and the removal of secrets for reading eyes."""

import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, TypeVar

import msgspec

from systemvm.spec.types import Problem

T = TypeVar("T")
REDACTED = "[secret]"
#: Longest piece of a wrong value that a problem quotes, in characters.
_QUOTED = 80


class DocumentError(ValueError):
    """A document that is not of its type; `problem` names the place."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.path}: {problem.message}")
        self.problem = problem


def decode(raw: bytes, kind: type[T]) -> T:
    """Parse JSON into `kind`. Raises DocumentError with the path of the first mistake."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `")
        path = path.rstrip("`").removeprefix("$").removeprefix(".")
        raise DocumentError(Problem(path=path or "$", message=message)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DocumentError(Problem(path="$", message=f"not JSON: {error}")) from None


def problems(raw: bytes, kind: type[Any]) -> list[Problem]:
    """Every place where a JSON text is not a `kind`, as `nftables.port_forwards[2].public`; [] if it is one.

    msgspec judges each piece; this only takes the document apart along the type, so that a mistake does
    not hide the next one.
    """
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return [Problem(path="$", message=f"not JSON: {error}")]
    return list(_problems(value, kind, ""))


def encode(document: Any) -> bytes:
    """JSON of a document, keys in declared order: equal documents have equal bytes."""
    return msgspec.json.encode(document)


def schema(kind: type[Any]) -> dict[str, Any]:
    """JSON Schema (2020-12) of a document type."""
    return msgspec.json.schema(kind)


def redact(document: msgspec.Struct) -> dict[str, Any]:
    """The document as plain data with every `Secret` replaced by a mark; empty ones stay empty."""
    redacted: dict[str, Any] = _redact(document, type(document))
    return redacted


def _redact(value: Any, annotation: Any) -> Any:
    if value and _is_secret(annotation):
        return REDACTED
    if isinstance(value, msgspec.Struct):
        fields = msgspec.structs.fields(type(value))
        return {field.encode_name: _redact(getattr(value, field.name), field.type) for field in fields}
    if isinstance(value, dict):
        item = _item_type(annotation, dict)
        return {key: _redact(element, item) for key, element in value.items()}
    if isinstance(value, tuple | list):
        item = _item_type(annotation, tuple) or _item_type(annotation, list)
        return [_redact(element, item) for element in value]
    return msgspec.to_builtins(value)


def _problems(value: Any, annotation: Any, path: str) -> Iterator[Problem]:
    try:
        msgspec.convert(value, type=annotation)
        return
    except msgspec.ValidationError as error:
        message = str(error).partition(" - at `")[0]
    inner = list(_inner_problems(value, annotation, path))
    if inner:
        yield from inner
    else:
        yield Problem(path=path or "$", message=f"{message}{_quote(value, annotation)}")


def _inner_problems(value: Any, annotation: Any, path: str) -> Iterator[Problem]:
    struct = _struct_for(value, annotation)
    if isinstance(value, dict) and struct is not None:
        yield from _field_problems(value, struct, path)
    elif isinstance(value, dict) and (item := _item_type(annotation, dict)) is not None:
        for key, element in value.items():
            yield from _problems(element, item, f"{path}[{key!r}]")
    elif isinstance(value, list):
        item = _item_type(annotation, tuple) or _item_type(annotation, list)
        for index, element in enumerate(value if item is not None else ()):
            yield from _problems(element, item, f"{path}[{index}]")


def _field_problems(value: dict[str, Any], struct: type[msgspec.Struct], path: str) -> Iterator[Problem]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    for name, field in fields.items():
        place = f"{path}.{name}" if path else name
        if name in value:
            yield from _problems(value[name], field.type, place)
        elif field.required:
            yield Problem(path=place, message="missing, and it has no default")
    if struct.__struct_config__.forbid_unknown_fields:
        for name in sorted(value.keys() - fields.keys() - {struct.__struct_config__.tag_field}):
            place = f"{path}.{name}" if path else name
            yield Problem(path=place, message=f"unknown field; {struct.__name__} has {', '.join(fields)}")


def _struct_for(value: Any, annotation: Any) -> type[msgspec.Struct] | None:
    """The struct that an object is meant to be: the only one, or the one whose tag it carries."""
    structs = [arm for arm in _arms(annotation) if _is_struct(arm)]
    for struct in structs:
        config = struct.__struct_config__
        if len(structs) == 1 or (isinstance(value, dict) and value.get(config.tag_field) == config.tag):
            return typing.cast(type[msgspec.Struct], struct)
    return None


def _quote(value: Any, annotation: Any) -> str:
    """The wrong value, for the message; never a secret."""
    if value is None or isinstance(value, dict | list) or _is_secret(annotation):
        return ""
    text = msgspec.json.encode(value).decode()
    return f" ({text if len(text) <= _QUOTED else text[:_QUOTED] + '…'})"


def _arms(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of `X | None`, or the one type itself, with its Annotated wrapping removed."""
    if typing.get_origin(annotation) is Annotated:
        annotation = annotation.__origin__
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(inner for arm in typing.get_args(annotation) for inner in _arms(arm))
    return (annotation,)


def _item_type(annotation: Any, container: type) -> Any:
    """Type of the elements of `tuple[X, ...]`, `list[X]` or of the values of `dict[str, X]`, else None."""
    for arm in _arms(annotation):
        if typing.get_origin(arm) is container:
            arguments = typing.get_args(arm)
            return arguments[1] if container is dict else arguments[0]
    return None


def _is_struct(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, msgspec.Struct)


def _is_secret(annotation: Any) -> bool:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return any(_is_secret(arm) for arm in typing.get_args(annotation))
    return any(
        isinstance(item, msgspec.Meta) and (item.extra or {}).get("secret")
        for item in getattr(annotation, "__metadata__", ())
    )
