"""Rows that answers mention by name: fetched for a whole page at once, never one by one."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, Protocol, TypeVar

from sqlalchemy import BindParameter, Select, bindparam, select
from sqlalchemy.orm.util import identity_key

from mgmt.api.call import Call
from mgmt.api.registry import Response
from mgmt.model.states import AccountType
from mgmt.store.tables import Account, Domain, Project, Tag
from mgmt.store.tables.base import Identified

R = TypeVar("R", bound=Identified)
WIRE_TIME = "%Y-%m-%dT%H:%M:%S+0000"


class TagResponse(Response):
    """A tag as lists of VMs, volumes and tags show it."""

    key: str
    value: str
    resourcetype: str | None = None
    resourceid: str | None = None
    account: str | None = None
    project: str | None = None
    projectid: str | None = None
    domain: str | None = None
    domainid: str | None = None


_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
_OWNERS = select(Account, Domain).join(Domain, Domain.id == Account.domain_id).where(Account.id.in_(_IDS))
_TAGS = (
    select(Tag)
    .where(Tag.resource_type == bindparam("type"), Tag.resource_id.in_(_IDS), Tag.removed.is_(None))
    .order_by(Tag.key)
)


def wire_time(moment: datetime | None) -> str | None:
    """A moment as clients parse it: `2026-01-31T12:00:00+0000`."""
    return None if moment is None else moment.astimezone(UTC).strftime(WIRE_TIME)


def rows_by_id(call: Call, table: type[R], ids: Iterable[str | None]) -> dict[str, R]:
    """The rows of these ids, by id, removed ones too; one statement, none for what this call has read."""
    rows = _read_already(call, table, {item for item in ids if item is not None})
    wanted = [row_id for row_id, row in rows.items() if row is None]
    found: Iterable[R] = call.session.scalars(_by_ids(table), {"ids": wanted}) if wanted else ()
    rows |= _kept(call, table, found)
    return {row_id: row for row_id, row in rows.items() if row is not None}


def _read_already(call: Call, table: type[R], ids: Iterable[str]) -> dict[str, R | None]:
    """What the call's transaction holds of these ids: the caller's own account and domain, mostly."""
    held = call.session.identity_map
    return {row_id: held.get(identity_key(table, row_id)) for row_id in ids}


def _kept(call: Call, table: type[R], rows: Iterable[R]) -> dict[str, R]:
    """Rows by their ids; a session forgets rows that nobody holds."""
    found = {row.id: row for row in rows}
    call.mentioned |= {(table, row_id): row for row_id, row in found.items()}
    return found


@cache
def _by_ids(table: type[Identified]) -> Select[Any]:
    """Made once for each table: making a statement takes longer than running it."""
    return select(table).where(table.id.in_(_IDS))


class Owners:
    """Accounts and domains of owned rows: `names(row)` is what every owned answer carries."""

    def __init__(self, call: Call, rows: Sequence[Any]) -> None:
        self._accounts, self._domains = _accounts_and_domains(call, {row.account_id for row in rows})
        # An account's rows are in its own domain; what a domain owns without an account is rare.
        others = {row.domain_id for row in rows} - self._domains.keys()
        self._domains |= rows_by_id(call, Domain, others)
        self._projects = _projects_of(call, self._accounts.values())

    def names(self, row: Any) -> dict[str, Any]:
        """`account` (or `project` and `projectid`), `domain`, `domainid`, `domainpath` for a response."""
        account = self._accounts.get(row.account_id)
        domain = self._domains.get(row.domain_id)
        project = self._projects.get(row.account_id)
        owner = {"project": project.name, "projectid": project.id} if project else {}
        return {
            **owner,
            "account": account.name if account and not project else None,
            "domain": domain.name if domain else None,
            "domainid": domain.id if domain else None,
            "domainpath": domain_path(domain) if domain else None,
        }


def _accounts_and_domains(call: Call, ids: set[str | None]) -> tuple[dict[str, Account], dict[str, Domain]]:
    """Accounts with their domains, each by id, by one statement."""
    accounts = _read_already(call, Account, {item for item in ids if item is not None})
    wanted = [account_id for account_id, account in accounts.items() if account is None]
    pairs = call.session.execute(_OWNERS, {"ids": wanted}).all() if wanted else ()
    accounts |= {account.id: account for account, _ in pairs}
    there = {account_id: account for account_id, account in accounts.items() if account is not None}
    domains = {domain.id: domain for _, domain in pairs}
    return there, domains | rows_by_id(
        call, Domain, {row.domain_id for row in there.values()} - domains.keys()
    )


def _projects_of(call: Call, accounts: Iterable[Account]) -> dict[str, Project]:
    """Projects by the ids of their accounts; no statement where no account is a project's."""
    ids = [account.id for account in accounts if account.type == AccountType.project]
    if not ids:
        return {}
    found = call.session.scalars(select(Project).where(Project.account_id.in_(ids)))
    return {project.account_id: project for project in found}


def domain_path(domain: Domain) -> str:
    """`ROOT/a/b`, as clients compare it."""
    return ("ROOT" + domain.path).rstrip("/")


class HasId(Protocol):
    """What can have tags."""

    @property
    def id(self) -> str:
        """The id that tags name."""


def tags_of(call: Call, resource_type: str, rows: Sequence[HasId]) -> dict[str, list[TagResponse]]:
    """The tags of rows by their id, in full (VMs, volumes). Every row has a list, if an empty one."""
    found: dict[str, list[TagResponse]] = defaultdict(list)
    about = {"type": resource_type, "ids": [row.id for row in rows]}
    tags = call.session.scalars(_TAGS, about).all()
    owners = Owners(call, tags)
    for tag in tags:
        names = owners.names(tag)
        names.pop("domainpath")
        found[tag.resource_id].append(
            TagResponse(
                key=tag.key,
                value=tag.value,
                resourcetype=tag.resource_type,
                resourceid=tag.resource_id,
                **names,
            )
        )
    return {row.id: found[row.id] for row in rows}


def plain_tags_of(call: Call, resource_type: str, rows: Sequence[HasId]) -> dict[str, list[TagResponse]]:
    """The tags of rows by their id, key and value only, as networks, addresses and rules carry them."""
    full = tags_of(call, resource_type, rows)
    return {
        row_id: [TagResponse(key=tag.key, value=tag.value) for tag in tags] for row_id, tags in full.items()
    }
