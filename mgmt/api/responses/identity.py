"""Domains, accounts, users and their keys on the wire."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import and_, func, or_, select

from mgmt.alloc.counted import NOT_COUNTED
from mgmt.alloc.limits import owner_kind
from mgmt.api.call import Call
from mgmt.api.registry import Entity, Response
from mgmt.api.responses.limits import ProjectLimitFields, limit_fields
from mgmt.api.responses.lookup import domain_path, rows_by_id, wire_time
from mgmt.model.resources import OwnerKind
from mgmt.model.states import AccountType, VmKind, VmState
from mgmt.store.roles import ROLE_OF_TYPE
from mgmt.store.tables import Account, Domain, Role, User, Vm

RoleNames = dict[str, dict[str, Any]]
"""`roleid`, `rolename`, `roletype` by the id of the account."""


class UserResponse(Response):
    """A user; `apikey` once keys are registered."""

    id: str
    username: str
    firstname: str
    lastname: str
    email: str
    state: str
    timezone: str
    account: str
    accountid: str
    accounttype: int
    domain: str
    domainid: str
    created: str | None
    roleid: str | None
    rolename: str | None
    roletype: str | None
    usersource: str = "native"
    isdefault: bool = False
    is2faenabled: bool = False
    is2famandated: bool = False
    iscallerchilddomain: bool = False
    apikey: str | None = None


def user_responses(call: Call, rows: Sequence[User]) -> list[UserResponse]:
    """Users on the wire."""
    accounts = rows_by_id(call, Account, (row.account_id for row in rows))
    domains = rows_by_id(call, Domain, (account.domain_id for account in accounts.values()))
    return _users(call, rows, accounts, domains, role_names(call, accounts.values()))


def _users(
    call: Call,
    rows: Sequence[User],
    accounts: dict[str, Account],
    domains: dict[str, Domain],
    roles: RoleNames,
) -> list[UserResponse]:
    return [
        _user(row, accounts[row.account_id], domains[accounts[row.account_id].domain_id], roles, call)
        for row in rows
    ]


def role_names(call: Call, accounts: Collection[Account]) -> RoleNames:
    """The roles of accounts; those that were given none have their type's."""
    ids = {account.role_id for account in accounts if account.role_id is not None}
    query = select(Role).where(or_(Role.id.in_(ids), Role.is_default))
    roles = call.session.scalars(query).all()
    by_id = {role.id: role for role in roles}
    by_name = {role.name: role for role in roles if role.is_default}
    names = {}
    for account in accounts:
        role = by_id.get(account.role_id or "") or by_name.get(ROLE_OF_TYPE.get(account.type, ""))
        names[account.id] = {
            "roleid": role.id if role else None,
            "rolename": role.name if role else None,
            "roletype": role.type if role else None,
        }
    return names


def _user(row: User, account: Account, domain: Domain, roles: RoleNames, call: Call) -> UserResponse:
    return UserResponse(
        id=row.id,
        username=row.username,
        firstname=row.firstname,
        lastname=row.lastname,
        email=row.email,
        state=row.state,
        timezone=row.timezone,
        account=account.name,
        accountid=account.id,
        accounttype=int(account.type),
        domain=domain.name,
        domainid=domain.id,
        created=wire_time(row.created),
        **roles[account.id],
        is2faenabled=row.totp_enabled,
        is2famandated=row.totp_mandated,
        iscallerchilddomain=domain.path.startswith(call.caller.domain.path) and domain != call.caller.domain,
        apikey=row.api_key if _may_see_key(call, row, account) else None,
    )


def _may_see_key(call: Call, row: User, account: Account) -> bool:
    """One's own; administrators see those of others, but for root administrators' only root ones."""
    caller = call.caller
    if caller.is_root or row.id == caller.user.id:
        return True
    return caller.type is AccountType.domain_admin and account.type != AccountType.root_admin


USER = Entity(User, UserResponse, "user", user_responses)


class AccountResponse(ProjectLimitFields):
    """An account with its users, what it has and what it may have."""

    id: str
    name: str
    accounttype: int
    roleid: str | None
    rolename: str | None
    roletype: str | None
    domain: str
    domainid: str
    domainpath: str
    state: str
    created: str | None
    isdefault: bool
    user: list[UserResponse]
    groups: list[str]
    vmrunning: int
    vmstopped: int
    networkdomain: str | None = None


def account_responses(call: Call, rows: Sequence[Account]) -> list[AccountResponse]:
    """Accounts on the wire, counted by one statement per kind of thing."""
    ids = [row.id for row in rows]
    domains, found = _domains_and_users(call, ids)
    roles = role_names(call, rows)
    users = defaultdict(list)
    for response in _users(call, found, {row.id: row for row in rows}, domains, roles):
        users[response.accountid].append(response)
    powers = vm_powers(call, ids)
    unlimited = {row.id for row in rows if row.type == AccountType.root_admin}
    limits = limit_fields(call, [(row.id, owner_kind(row)) for row in rows], unlimited)
    return [
        AccountResponse(
            id=row.id,
            name=row.name,
            accounttype=int(row.type),
            **roles[row.id],
            domain=domains[row.domain_id].name,
            domainid=row.domain_id,
            domainpath=domain_path(domains[row.domain_id]),
            state=row.state,
            created=wire_time(row.created),
            isdefault=row.type == AccountType.root_admin and row.name in ("admin", "system"),
            user=users[row.id],
            groups=[],
            networkdomain=row.network_domain,
            **powers[row.id],
            **limits[row.id],
        )
        for row in rows
    ]


def _domains_and_users(call: Call, account_ids: Sequence[str]) -> tuple[dict[str, Domain], list[User]]:
    """Domains of accounts by id, and the accounts' users, the oldest first; one statement."""
    query = (
        select(Domain, User)
        .join_from(Account, Domain, Domain.id == Account.domain_id)
        .outerjoin(User, and_(User.account_id == Account.id, User.removed.is_(None)))
        .where(Account.id.in_(account_ids))
        .order_by(User.created)
    )
    found = call.session.execute(query).all()
    return {domain.id: domain for domain, _ in found}, [user for _, user in found if user is not None]


def vm_powers(call: Call, account_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`vmrunning` and `vmstopped` of each account."""
    found: dict[str, dict[str, Any]] = {
        account_id: {"vmrunning": 0, "vmstopped": 0} for account_id in account_ids
    }
    query = (
        select(Vm.account_id, Vm.state, func.count())
        .where(Vm.account_id.in_(account_ids), Vm.kind == VmKind.user, Vm.removed.is_(None))
        .where(Vm.state.not_in(NOT_COUNTED))
        .group_by(Vm.account_id, Vm.state)
    )
    for account_id, state, count in call.session.execute(query):
        found[account_id]["vmrunning" if state == VmState.running else "vmstopped"] += count
    return found


ACCOUNT = Entity(Account, AccountResponse, "account", account_responses)


class DomainResponse(ProjectLimitFields):
    """A domain; `level` 0 is ROOT."""

    id: str
    name: str
    path: str
    level: int
    haschild: bool
    state: str
    created: str | None
    parentdomainid: str | None = None
    parentdomainname: str | None = None
    networkdomain: str | None = None


def domain_responses(call: Call, rows: Sequence[Domain]) -> list[DomainResponse]:
    """Domains on the wire."""
    parents = rows_by_id(call, Domain, (row.parent_id for row in rows))
    query = select(Domain.parent_id).where(
        Domain.parent_id.in_([row.id for row in rows]), Domain.removed.is_(None)
    )
    with_children = set(call.session.scalars(query.distinct()))
    unlimited = {row.id for row in rows if row.parent_id is None}
    limits = limit_fields(call, [(row.id, OwnerKind.domain) for row in rows], unlimited)
    return [
        DomainResponse(
            id=row.id,
            name=row.name,
            path=domain_path(row),
            level=row.path.count("/") - 1,
            haschild=row.id in with_children,
            state=row.state,
            created=wire_time(row.created),
            parentdomainid=row.parent_id,
            parentdomainname=parents[row.parent_id].name if row.parent_id else None,
            networkdomain=row.network_domain,
            **limits[row.id],
        )
        for row in rows
    ]


DOMAIN = Entity(Domain, DomainResponse, "domain", domain_responses)


class UserKeys(Response):
    """A user's API key and secret key."""

    apikey: str | None = None
    secretkey: str | None = None
