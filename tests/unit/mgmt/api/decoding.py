"""What the Go SDK makes of an answer: one field of another type than it was built for fails the call."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FACTS: dict[str, Any] = json.loads((Path(__file__).parent / "field_types.json").read_text())
#: Commands whose answer the SDK types wrongly; the original's answer counts.
MISTYPED = {"listTrafficTypes", "listLoadBalancerRuleInstances", "listProjectAccounts"}

#: The JSON values that each of its types takes. None is skipped; a bool is no number, though Python says so.
TAKES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "UUID": (str,),
    "int": (int,),
    "int64": (int,),
    "float64": (int, float),
    "bool": (bool,),
}


def wrong_types(command: str, body: dict[str, Any]) -> list[str]:
    """The fields of a command's answer, or of its job's result, that the SDK cannot decode."""
    if command in MISTYPED:
        return []
    shape = FACTS["shapes"][FACTS["commands"][command]]
    inner = [value for key, value in body.items() if key != "count"]
    if len(inner) == 1 and isinstance(inner[0], dict | list):
        body = inner[0]
    items = body if isinstance(body, list) else [body]
    return [problem for item in items for problem in _decode(item, shape, command)]


def _decode(value: Any, kind: Any, where: str) -> Iterator[str]:
    if value is None or kind == "interface{}":
        return
    if isinstance(kind, str):
        if not _takes(kind, value):
            yield f"{where} is {value!r}, no {kind}"
    elif not isinstance(value, type(kind)):
        yield f"{where} is {value!r}, no {type(kind).__name__}"
    elif isinstance(kind, list):
        for at, item in enumerate(value):
            yield from _decode(item, kind[0], f"{where}[{at}]")
    else:
        for name, item in value.items():
            yield from _decode(item, kind.get(name, "interface{}"), f"{where}.{name}")


def _takes(kind: str, value: Any) -> bool:
    if kind.startswith("map["):
        return isinstance(value, dict) and all(isinstance(item, str) for item in value.values())
    return isinstance(value, TAKES.get(kind, object)) and (kind == "bool" or not isinstance(value, bool))
