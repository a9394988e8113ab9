"""Owners and scopes: for which account a call acts, and what a list may show."""

from typing import Annotated, Any

from sqlalchemy import ColumnElement, false, or_, select, true
from sqlalchemy.orm import Session

from mgmt.api.access import Caller, Ref, authorize
from mgmt.api.call import Owner
from mgmt.api.membership import open_projects
from mgmt.api.params import wrong_value
from mgmt.model.errors import ParameterError
from mgmt.model.projects import ProjectState
from mgmt.model.states import AccountType
from mgmt.store.tables import Account, Domain, Project


class _Mark:
    """A mark without a value."""


OWNER = _Mark()
PROJECT = _Mark()
ANY_PROJECT = "-1"

OwnerAccount = Annotated[str | None, OWNER, "the account the resource is for; together with domainid"]
OwnerDomain = Annotated[str | None, Ref(Domain, use=True), "the ID of the domain of that account"]
OwnerProject = Annotated[
    str | None, PROJECT, Ref(Project, use=True), "the ID of the project the resource is for"
]
"""Hints of the three parameters with which somebody acts for another account, or for a project."""


def is_any_project(caller: Caller, name: str, value: str) -> bool:
    """Whether all the caller's projects are meant, which only lists understand. Raises `ParameterError`."""
    if value == ANY_PROJECT and caller.changes:
        raise wrong_value(name, value, "the ID of one project")
    return value == ANY_PROJECT


def find_owner(
    session: Session,
    caller: Caller,
    account: str | None,
    domain_id: str | None,
    project_id: str | None = None,
) -> Owner:
    """The account named (in the domain named or the caller's), the project's, or the caller's own.

    The caller's right to the project was checked by its `Ref`. Raises `ParameterError` if there is no such
    account, or if the project is suspended and the call changes something; `PermissionDenied` if the account
    is not the caller's to act for.
    """
    if project_id not in (None, ANY_PROJECT):
        if account is not None:
            raise ParameterError("Send account or projectid, not both: a project's resources are its own")
        return _project_owner(session, caller, session.get_one(Project, project_id))
    if account is None:
        return Owner(account=caller.account, domain=caller.domain)
    domain = session.get(Domain, domain_id or caller.domain.id)
    query = select(Account).where(
        Account.name == account,
        Account.domain_id == (domain_id or caller.domain.id),
        Account.type != AccountType.project,
        Account.removed.is_(None),
    )
    found = session.scalar(query)
    if found is None or domain is None:
        where = domain.name if domain else domain_id
        raise wrong_value("account", account, f"the name of an account in domain {where}")
    authorize(caller, session, found, use=False)
    return Owner(account=found, domain=domain)


def _project_owner(session: Session, caller: Caller, project: Project) -> Owner:
    if caller.changes and project.state != ProjectState.active:
        raise ParameterError(
            f"Project {project.name} is {project.state}; activate it first (activateProject)"
        )
    account = session.get_one(Account, project.account_id)
    return Owner(account=account, domain=session.get_one(Domain, project.domain_id))


def visible(
    session: Session,
    caller: Caller,
    table: Any,
    *,
    account: str | None,
    domain_id: str | None,
    project_id: str | None = None,
    list_all: bool,
    recursive: bool,
    by_id: bool,
) -> ColumnElement[bool]:
    """The condition for the rows of an owned table that a list shows.

    A project, an account or a domain narrows it; without, it is the caller's own account, or with `list_all`
    everything the caller covers except what is projects'. The caller's right to ids was checked by their
    `Ref`s (to a domain only for use, so an ordinary user may name the own one and still sees only the own
    account there).
    """
    if project_id == ANY_PROJECT:
        scope = _of_projects(session, caller, table)
        return or_(scope, _covered(session, caller, table)) if list_all else scope
    if project_id is not None:
        return _is(table.account_id, session.get_one(Project, project_id).account_id)
    if account is not None:
        owner = find_owner(session, caller, account, domain_id)
        return _is(table.account_id, owner.account.id)
    if domain_id is not None and caller.is_admin:
        if not caller.covers_domain(session, domain_id):
            raise ParameterError(f"Domain {domain_id} is not yours to list; leave domainid away")
        return in_domain(session, table.domain_id, domain_id, recursive=recursive) & _no_project(table)
    if by_id:
        return true()
    return _covered(session, caller, table) if list_all else _is(table.account_id, caller.account.id)


def _covered(session: Session, caller: Caller, table: Any) -> ColumnElement[bool]:
    """Everything the caller covers as an account or its administrator."""
    if not caller.is_admin:
        return _is(table.account_id, caller.account.id)
    if caller.is_root:
        return _no_project(table)
    return in_domain(session, table.domain_id, caller.domain.id, recursive=True) & _no_project(table)


def _of_projects(session: Session, caller: Caller, table: Any) -> ColumnElement[bool]:
    """What belongs to projects in which the caller may call this, and to those of the caller's domains."""
    mine: ColumnElement[bool] = table.account_id.in_(open_projects(session, caller.user, caller.command))
    if not caller.is_admin:
        return mine
    if caller.is_root:
        return ~_no_project(table)
    here = in_domain(session, table.domain_id, caller.domain.id, recursive=True)
    return or_(mine, here & ~_no_project(table))


def _no_project(table: Any) -> ColumnElement[bool]:
    """The condition that no project owns it; nobody's rows (free addresses) are no project's either."""
    return ~select(Project.id).where(Project.account_id == table.account_id).exists()


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
