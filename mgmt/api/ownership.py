"""Owners and scopes: for which account a call acts, and what a list may show."""

from typing import Annotated, Any

from sqlalchemy import ColumnElement, false, or_, select, true
from sqlalchemy.orm import Session

from mgmt.api.access import Caller, Ref, authorize
from mgmt.api.call import Owner
from mgmt.api.params import unknown_entity, wrong_value
from mgmt.model.errors import ParameterError
from mgmt.model.states import AccountType
from mgmt.store.tables import Account, Domain


class _Mark:
    """A mark without a value."""


OWNER = _Mark()
PROJECT = _Mark()
ANY_PROJECT = "-1"

OwnerAccount = Annotated[str | None, OWNER, "the account the resource is for; together with domainid"]
OwnerDomain = Annotated[str | None, Ref(Domain, use=True), "the ID of the domain of that account"]
OwnerProject = Annotated[str | None, PROJECT, "the ID of the project the resource is for"]
"""Hints of the three parameters with which an administrator acts for another account."""


def check_project(name: str, value: str | None) -> None:
    """There are no projects yet: only "all of them" is a project anybody has."""
    if value not in (None, ANY_PROJECT):
        raise unknown_entity(name, str(value))


def find_owner(session: Session, caller: Caller, account: str | None, domain_id: str | None) -> Owner:
    """The account named (in the domain named or the caller's), or the caller's own.

    Raises `ParameterError` if there is none, `PermissionDenied` if it is not the caller's to act for.
    """
    if account is None:
        return Owner(account=caller.account, domain=caller.domain)
    domain = session.get(Domain, domain_id or caller.domain.id)
    query = select(Account).where(
        Account.name == account,
        Account.domain_id == (domain_id or caller.domain.id),
        Account.removed.is_(None),
    )
    found = session.scalar(query)
    if found is None or domain is None:
        where = domain.name if domain else domain_id
        raise wrong_value("account", account, f"the name of an account in domain {where}")
    authorize(caller, session, found, use=False)
    return Owner(account=found, domain=domain)


def visible(
    session: Session,
    caller: Caller,
    table: Any,
    *,
    account: str | None,
    domain_id: str | None,
    list_all: bool,
    recursive: bool,
    by_id: bool,
) -> ColumnElement[bool]:
    """The condition for the rows of an owned table that a list shows.

    An account or a domain narrows it; without, it is the caller's own account, or with `list_all` (or ids)
    everything the caller covers. The caller's right to `domain_id` was checked by its `Ref` (for use, so
    an ordinary user may name the own domain and still sees only the own account there).
    """
    if account is not None:
        owner = find_owner(session, caller, account, domain_id)
        return _is(table.account_id, owner.account.id)
    if domain_id is not None and caller.type is not AccountType.user:
        if not caller.covers_domain(session, domain_id):
            raise ParameterError(f"Domain {domain_id} is not yours to list; leave domainid away")
        return in_domain(session, table.domain_id, domain_id, recursive=recursive)
    if not (list_all or by_id) or caller.type is AccountType.user:
        return _is(table.account_id, caller.account.id)
    if caller.is_root:
        return true()
    return in_domain(session, table.domain_id, caller.domain.id, recursive=True)


def in_domain(session: Session, column: Any, domain_id: str, *, recursive: bool) -> ColumnElement[bool]:
    """The condition that a domain id column names this domain, or one below it."""
    if not recursive:
        return _is(column, domain_id)
    path = session.scalar(select(Domain.path).where(Domain.id == domain_id))
    if path is None:
        return false()
    below = select(Domain.id).where(Domain.path.startswith(path, autoescape=True))
    return or_(_is(column, domain_id), column.in_(below))


def _is(column: Any, value: str) -> ColumnElement[bool]:
    condition: ColumnElement[bool] = column == value
    return condition
