"""Which commands a role allows, read once per role and server, and again after any change of a role.

Rules are ordered, with `*` as wildcard; the first that matches a command decides, and without any it is
denied. A command's own `access` is the upper bound for every role of a type.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fnmatch import translate
from functools import cached_property

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.api.access import Caller
from mgmt.api.registry import REGISTRY, Registered
from mgmt.model.states import AccountType, RoleType
from mgmt.store.database import Database
from mgmt.store.roles import ALLOW, ROLE_OF_TYPE
from mgmt.store.tables import Account, Role, RolePermission

Match = Callable[[str], object]


@dataclass(frozen=True)
class Rights:
    """What the accounts of a role may call. `type` is the kind of account, None if nothing is allowed."""

    type: AccountType | None
    rules: tuple[tuple[Match, bool], ...] = ()
    known: dict[str, bool] = field(default_factory=dict)

    def allows(self, command: Registered) -> bool:
        """Whether they may call the command."""
        if self.type is None or self.type not in command.spec.access:
            return False
        found = self.known.get(command.name)
        if found is None:
            found = self.known[command.name] = self._decide(command.name.lower())
        return found

    def _decide(self, name: str) -> bool:
        return next((allowed for matches, allowed in self.rules if matches(name)), False)

    @cached_property
    def commands(self) -> frozenset[str]:
        """The names of all commands that are allowed."""
        return frozenset(item.name for item in REGISTRY.all() if self.allows(item))


@dataclass(frozen=True)
class _Book:
    version: str
    rights: dict[str, Rights] = field(default_factory=dict)


class Roles:
    """The rights of roles, remembered as long as no role changes.

    A caller carries the version of the roles, read by the statement that finds the caller: so a change is
    effective on every server with the next call, at the price of no statement.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._book = _Book("")

    def of(self, caller: Caller) -> Rights:
        """The rights of the caller's account."""
        account, version = caller.account, caller.roles_version
        book = self._book
        if book.version != version or not version:
            book = self._book = _Book(version)
        key = f"{account.role_id} {account.type}"
        found = book.rights.get(key)
        if found is None:
            with self._database.reading() as session:
                found = book.rights[key] = rights_of_account(session, account)
        return found


def rights_of_account(session: Session, account: Account) -> Rights:
    """The rights of an account, as they are in this transaction: of its role, or its type's default role."""
    if account.role_id is not None:
        role = session.get(Role, account.role_id)
    else:
        name = ROLE_OF_TYPE.get(account.type)
        role = session.scalar(select(Role).where(Role.name == name, Role.is_default, Role.removed.is_(None)))
    found = Rights(None) if role is None else rights_of_role(session, role)
    return found if found.type == account.type else Rights(None)


def rights_of_role(session: Session, role: Role) -> Rights:
    """The rights that a role gives, as they are in this transaction."""
    if role.removed is not None or not role.is_enabled or role.type not in set(RoleType):
        return Rights(None)
    query = select(RolePermission).where(RolePermission.role_id == role.id, RolePermission.removed.is_(None))
    rules = session.scalars(query.order_by(RolePermission.position, RolePermission.id))
    return Rights(
        RoleType(role.type).account_type, compile_rules((row.rule, row.permission) for row in rules)
    )


def compile_rules(rules: Iterable[tuple[str, str]]) -> tuple[tuple[Match, bool], ...]:
    """Rules with their permissions as functions of a lower-case name; case does not matter, as in CloudStack.

    `fnmatch` makes expressions that cannot backtrack without end, however many wildcards a rule has.
    """
    return tuple((re.compile(translate(rule.lower())).match, each == ALLOW) for rule, each in rules)
