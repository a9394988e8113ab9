"""Who calls and who owns: a domain tree with an account each, and what each may do, apart from the product.

/            root     (root administrator)
/a/          adam     (domain administrator), alice and bob (users)
/a/c/        dora     (user of a child domain)
/b/          carol    (user of another domain)
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.api.access import Caller
from mgmt.model.states import AccountType
from mgmt.store import tables

TREE = {"/a/": "/", "/b/": "/", "/a/c/": "/a/"}
ACCOUNTS = {
    "adam": ("/a/", AccountType.domain_admin),
    "alice": ("/a/", AccountType.user),
    "bob": ("/a/", AccountType.user),
    "dora": ("/a/c/", AccountType.user),
    "carol": ("/b/", AccountType.user),
}
CALLERS = ("alice", "adam", "root")

SHARED = {tables.ServiceOffering, tables.DiskOffering, tables.NetworkOffering, tables.Zone}
"""Everybody may use them, root changes them."""


@dataclass(frozen=True)
class Person:
    """An account with its user and domain."""

    name: str
    user: tables.User
    account: tables.Account
    domain: tables.Domain

    @property
    def caller(self) -> Caller:
        """As the dispatcher sees the person."""
        return Caller(self.user, self.account, self.domain)


def populate(session: Session) -> dict[str, Person]:
    """Make the tree; people by name, root administrator `root` among them."""
    domains = {"/": session.scalars(select(tables.Domain).where(tables.Domain.path == "/")).one()}
    for path, parent in TREE.items():
        name = path.rstrip("/").rsplit("/", 1)[-1]
        domains[path] = tables.Domain(name=name, path=path, parent_id=domains[parent].id)
        session.add(domains[path])
        session.flush()
    admin = session.scalars(select(tables.User).where(tables.User.username == "admin")).one()
    people = {"root": Person("root", admin, session.get_one(tables.Account, admin.account_id), domains["/"])}
    for name, (path, kind) in ACCOUNTS.items():
        account = tables.Account(name=name, domain_id=domains[path].id, type=kind)
        session.add(account)
        session.flush()
        user = tables.User(account_id=account.id, username=name, password="!")
        session.add(user)
        session.flush()
        people[name] = Person(name, user, account, domains[path])
    return people


def rules(caller: Person, owner: Person) -> bool:
    """Whether the caller is over the owner: root over all, a domain administrator over the subtree."""
    if caller.name == "root" or caller.name == owner.name:
        return True
    return caller.name == "adam" and owner.domain.path.startswith("/a/")


def may(caller: Person, table: type[Any], owner: Person, *, use: bool) -> bool:
    """Whether the caller may have the owner's row of a table, by the rules that are promised."""
    if caller.name == "root":
        return True
    if table in SHARED:
        return use
    if table is tables.Domain:
        below = caller.name == "adam" and owner.domain.path.startswith("/a/")
        return below or (use and owner.domain.id == caller.domain.id)
    if table is tables.Role:
        return use and caller.name == "adam"
    if table is tables.User:
        return caller.name == owner.name or (caller.name == "adam" and rules(caller, owner))
    if is_owned(table):
        return rules(caller, owner)
    return False


def is_owned(table: type[Any]) -> bool:
    """Whether its rows are somebody's: by an owner's column, or through the row they belong to."""
    through = (tables.BalancerMember, tables.ProjectRole, tables.ProjectRolePermission)
    if table in (tables.Account, *through):
        return True
    return hasattr(table, "account_id") and table is not tables.VlanRange
