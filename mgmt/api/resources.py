"""Rows that two parameters name together, a type and an id: found and authorized like those of a `Ref`."""

from typing import Any

from sqlalchemy import select

from mgmt.api.access import authorize
from mgmt.api.call import Call
from mgmt.api.params import unknown_entity, wrong_value
from mgmt.store.tables.base import Identified

Tables = dict[str, type[Identified]]


def read_kind(name: str, text: str, tables: Tables) -> str:
    """The spelling of a type, in any case. Raises `ParameterError`."""
    found = {kind.lower(): kind for kind in tables}.get(text.lower())
    if found is None:
        raise wrong_value(name, text, f"one of {', '.join(sorted(tables))}")
    return found


def find_row(call: Call, table: type[Identified], name: str, row_id: str) -> Any:
    """The row, authorized. Raises `ParameterError`, `PermissionDenied`."""
    row = call.session.scalar(select(table).where(table.id == row_id.lower(), table.removed.is_(None)))
    if row is None:
        raise unknown_entity(name, row_id)
    authorize(call.caller, call.session, row, use=False)
    return row
