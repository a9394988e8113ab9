"""Rows by the thousand: complete values, collected by table, inserted in the order of foreign keys."""

from collections import defaultdict
from dataclasses import MISSING, Field, fields
from functools import cache
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from mgmt.store.tables import Base

Values = dict[str, Any]


class Batch:
    """Rows that are inserted together."""

    def __init__(self) -> None:
        self._rows: defaultdict[str, list[Values]] = defaultdict(list)

    def add(self, table: type[Base], **columns: Any) -> Values:
        """Note a row; its values, the defaults of its table among them."""
        fixed, made = _defaults(table)
        values = {**fixed, **{name: make() for name, make in made if name not in columns}, **columns}
        self._rows[table.__tablename__].append(values)
        return values

    def insert(self, session: Session) -> None:
        """Insert all that was noted, one statement for each table."""
        for table in Base.metadata.sorted_tables:
            rows = self._rows.pop(table.name, [])
            if rows:
                session.execute(insert(table), rows)


@cache
def _defaults(table: type[Base]) -> tuple[Values, tuple[tuple[str, Any], ...]]:
    """What rows have without being told: fixed values, and values that are made for each row."""
    every: tuple[Field[Any], ...] = fields(table)
    fixed = {item.name: _default(table, item) for item in every if item.default is not MISSING}
    made = tuple((item.name, item.default_factory) for item in every if item.default_factory is not MISSING)
    return fixed, made


def _default(table: type[Base], item: Field[Any]) -> Any:
    column = table.__table__.columns[item.name]
    return column.default.arg if column.default is not None else None
