"""Answers on a terminal: a table of what matters, or JSON as it came."""

import json
from typing import Any

from rich.console import Console
from rich.table import Table

from appliance.cli.api.client import CallFailed

FIRST = (
    *("id", "name", "displayname", "username", "type", "state", "status", "ipaddress", "zonename", "account"),
    *("value", "scope", "capacityused", "capacitytotal", "percentused", "rule", "permission", "max"),
    *("cpunumber", "memory", "size", "usage", "description", "displaytext", "sent", "created"),
)
"""What tells objects apart, and what somebody who lists them looks for."""
MOST_COLUMNS = 7
WIDE = 400
"""Characters in a line for pipes and files, where nothing is cut."""


def screen() -> Console:
    """Where answers go: a terminal as wide as it is, anything else as wide as the answer."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDE)


def print_answer(answer: dict[str, Any], output: str, console: Console) -> None:
    """Print an answer as `table` or `json`."""
    if output == "json":
        console.print_json(json.dumps(answer))
        return
    count, rows = unpack(answer)
    if rows is None:
        console.print("nothing found" if not answer else plain(answer), markup=False, highlight=False)
    elif len(rows) == 1:
        console.print(one(rows[0]))
    else:
        console.print(many(rows, console))
        console.print(f"{len(rows)} of {count}" if count != len(rows) else f"{count} found", highlight=False)


def unpack(answer: dict[str, Any]) -> tuple[int, list[dict[str, Any]] | None]:
    """The total and the objects of an answer; None where it holds none."""
    inner = [value for key, value in answer.items() if key != "count"]
    if len(inner) != 1 or not isinstance(inner[0], list | dict):
        return 0, None
    rows = inner[0] if isinstance(inner[0], list) else [inner[0]]
    if not all(isinstance(row, dict) for row in rows):
        return 0, None
    return int(answer.get("count", len(rows))), rows


def values_of(answer: dict[str, Any], field: str) -> list[str]:
    """A field of each object of an answer, `nic.0.ipaddress` of what is inside. Raises CallFailed."""
    _, rows = unpack(answer)
    found = [_follow(row, field) for row in (rows if rows is not None else [answer])]
    if not found or None in found:
        there = ", ".join(rows[0]) if rows else "nothing"
        raise CallFailed(f"the answer has no {field}: it has {there}")
    return [plain(value) for value in found]


def _follow(value: Any, path: str) -> Any:
    for key in path.split("."):
        if isinstance(value, list):
            value = value[int(key)] if key.isdigit() and int(key) < len(value) else None
        else:
            value = value.get(key) if isinstance(value, dict) else None
    return value


def one(row: dict[str, Any]) -> Table:
    """One object: a line per field."""
    table = Table(show_header=False, box=None)
    for name, value in row.items():
        table.add_row(name, plain(value))
    return table


def many(rows: list[dict[str, Any]], console: Console) -> Table:
    """Many objects: a row each, as many of the fields that tell them apart as there is room for."""
    names = [name for name in FIRST if any(name in row for row in rows)]
    simple = (
        name for name, value in rows[0].items() if name not in names and not isinstance(value, list | dict)
    )
    names = (names + list(simple))[:MOST_COLUMNS] if len(names) < 2 else names[:MOST_COLUMNS]
    table = _table(rows, names)
    endless = console.options.update(max_width=WIDE)
    while len(names) > 1 and console.measure(table, options=endless).minimum > console.width:
        table = _table(rows, names := names[:-1])
    return table


def _table(rows: list[dict[str, Any]], names: list[str]) -> Table:
    table = Table(box=None)
    for name in names:
        # An id that is cut is of no use: everything else gives way.
        table.add_column(name, min_width=len(plain(rows[0].get(name, ""))) if name == "id" else None)
    for row in rows:
        table.add_row(*(plain(row.get(name, "")) for name in names))
    return table


def plain(value: Any) -> str:
    """A value in one line, nested ones as JSON."""
    return value if isinstance(value, str) else json.dumps(value)
