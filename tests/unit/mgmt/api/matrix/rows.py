"""Rows of any table, made from its columns: a new table needs nothing here, unless a value has a meaning."""

import itertools
from dataclasses import MISSING, fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Boolean, DateTime, Float, Integer, inspect
from sqlalchemy.orm import Session

from mgmt.model.states import AccountType, Allocation
from mgmt.store import tables
from mgmt.store.tables.base import Base, UtcTime
from tests.unit.mgmt.api.matrix.people import Person

CANARY = "canary"
"""In every text of every row: it must not be in an answer that refuses."""

PLAUSIBLE: dict[str, Any] = {
    "cidr": "10.1.1.0/24",
    "gateway": "10.1.1.1",
    "netmask": "255.255.255.0",
    "vm_address": "10.1.1.2",
    "start_ip": "10.1.1.10",
    "end_ip": "10.1.1.20",
    "permission": "allow",
    "token_hash": "0" * 64,
}
MEANT: dict[type[Any], dict[str, Any]] = {
    tables.Zone: {"allocation": Allocation.enabled, "dns1": "9.9.9.9", "internal_dns1": "9.9.9.9"},
    tables.PublicAddress: {"state": "Allocated"},
    tables.Job: {"workflow": ""},
    tables.Vm: {"kind": "user"},
    tables.Role: {"type": "User"},
    tables.UserData: {"data": "aGVsbG8="},
    tables.Annotation: {"entity_type": "VM"},
    tables.SnapshotPolicy: {"interval": 0, "schedule": "5", "timezone": "UTC"},
}
APART: dict[type[Any], type[Any]] = {tables.SnapshotPolicy: tables.Volume}
"""Of these there is one for each row of another table."""


class Rows:
    """Makes one row of a table for a person, and all that it refers to."""

    def __init__(self, session: Session, people: dict[str, Person]) -> None:
        self._session = session
        self._made: dict[tuple[type[Any], str], str] = {}
        self._numbers = itertools.count(1)
        classes = [mapper.class_ for mapper in Base.registry.mappers]
        self._classes = {table.__tablename__: table for table in classes}
        for person in people.values():
            self._made[tables.Domain, person.name] = person.domain.id
            self._made[tables.Account, person.name] = person.account.id
            self._made[tables.User, person.name] = person.user.id

    def of(self, table: type[Any], owner: Person) -> str:
        """The id of the owner's row."""
        key = (table, owner.name)
        if table in (tables.Project, tables.ProjectMember) and key not in self._made:
            self._make_project(owner)
        if key not in self._made:
            row = table(**self._values(table, owner))
            self._session.add(row)
            self._session.flush()
            self._made[key] = row.id
        return self._made[key]

    def another(self, table: type[Any], owner: Person) -> str:
        """The id of one more row of the owner's."""
        self._made.pop((table, owner.name), None)
        if table in APART:
            self._made.pop((APART[table], owner.name), None)
        return self.of(table, owner)

    def _make_project(self, owner: Person) -> None:
        """A project that the owner administers; its resources would be its own account's."""
        name = f"{CANARY}-{next(self._numbers)}"
        account = tables.Account(name=name, domain_id=owner.domain.id, type=AccountType.project)
        self._session.add(account)
        self._session.flush()
        project = tables.Project(name=name, domain_id=owner.domain.id, account_id=account.id)
        self._session.add(project)
        self._session.flush()
        member = tables.ProjectMember(project_id=project.id, account_id=owner.account.id, role="Admin")
        self._session.add(member)
        self._session.flush()
        self._made[tables.Project, owner.name] = project.id
        self._made[tables.ProjectMember, owner.name] = member.id

    def _values(self, table: type[Any], owner: Person) -> dict[str, Any]:
        meant = MEANT.get(table, {})
        values: dict[str, Any] = dict(meant)
        columns = inspect(table).columns
        for item in fields(table):
            column = columns.get(item.name)
            if column is None or item.name in values or item.name == "id":
                continue
            target = next((key.column.table.name for key in column.foreign_keys), None)
            required = item.default is MISSING and item.default_factory is MISSING
            if target in ("account", "domain", "user") and (
                required or item.name in ("account_id", "domain_id")
            ):
                values[item.name] = self.of(self._classes[target], owner)
            elif required:
                values[item.name] = (
                    self.of(self._classes[target], owner) if target else self._plain(item.name, column)
                )
        return values

    def _plain(self, name: str, column: Any) -> Any:
        if name in PLAUSIBLE:
            return PLAUSIBLE[name]
        number = next(self._numbers)
        kind = column.type
        if isinstance(kind, UtcTime | DateTime):
            return datetime(2026, 1, 31, tzinfo=UTC)
        if isinstance(kind, Boolean):
            return True
        if isinstance(kind, Integer | Float):
            return number
        if name in ("address", "mac"):
            return f"10.9.{number // 250}.{number % 250 + 1}"
        return f"{CANARY}-{number}"[: getattr(kind, "length", None) or 255]
