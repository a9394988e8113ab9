"""Domains, accounts, users and their keys on the wire."""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import func, select

from mgmt.api.call import Call
from mgmt.api.registry import Entity, Response
from mgmt.api.responses.lookup import domain_path, rows_by_id, wire_time
from mgmt.model.states import AccountType, VmKind, VmState
from mgmt.store.tables import Account, Domain, Network, Template, User, Vm, Volume

ROLES = {
    AccountType.user: ("User", "User"),
    AccountType.root_admin: ("Root Admin", "Admin"),
    AccountType.domain_admin: ("Domain Admin", "DomainAdmin"),
}
UNLIMITED = "Unlimited"


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
    rolename: str
    roletype: str
    usersource: str = "native"
    isdefault: bool = False
    is2faenabled: bool = False
    iscallerchilddomain: bool = False
    apikey: str | None = None


def user_responses(call: Call, rows: Sequence[User]) -> list[UserResponse]:
    """Users on the wire."""
    accounts = rows_by_id(call, Account, (row.account_id for row in rows))
    domains = rows_by_id(call, Domain, (account.domain_id for account in accounts.values()))
    return [
        _user(row, accounts[row.account_id], domains[accounts[row.account_id].domain_id], call)
        for row in rows
    ]


def _user(row: User, account: Account, domain: Domain, call: Call) -> UserResponse:
    role, role_type = ROLES[AccountType(account.type)]
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
        rolename=role,
        roletype=role_type,
        iscallerchilddomain=domain.path.startswith(call.caller.domain.path) and domain != call.caller.domain,
        apikey=row.api_key,
    )


USER = Entity(User, UserResponse, "user", user_responses)


class AccountResponse(Response):
    """An account with its users and totals. Nothing is limited yet."""

    id: str
    name: str
    accounttype: int
    rolename: str
    roletype: str
    domain: str
    domainid: str
    domainpath: str
    state: str
    created: str | None
    isdefault: bool
    user: list[UserResponse]
    groups: list[str]
    vmtotal: int
    vmrunning: int
    vmstopped: int
    volumetotal: int
    networktotal: int
    templatetotal: int
    vmlimit: str = UNLIMITED
    vmavailable: str = UNLIMITED
    iplimit: str = UNLIMITED
    ipavailable: str = UNLIMITED
    volumelimit: str = UNLIMITED
    volumeavailable: str = UNLIMITED
    templatelimit: str = UNLIMITED
    templateavailable: str = UNLIMITED
    networklimit: str = UNLIMITED
    networkavailable: str = UNLIMITED
    cpulimit: str = UNLIMITED
    cpuavailable: str = UNLIMITED
    memorylimit: str = UNLIMITED
    memoryavailable: str = UNLIMITED


def account_responses(call: Call, rows: Sequence[Account]) -> list[AccountResponse]:
    """Accounts on the wire, counted by one statement per kind of thing."""
    ids = [row.id for row in rows]
    domains = rows_by_id(call, Domain, (row.domain_id for row in rows))
    users = defaultdict(list)
    query = select(User).where(User.account_id.in_(ids), User.removed.is_(None)).order_by(User.created)
    for response in user_responses(call, call.session.scalars(query).all()):
        users[response.accountid].append(response)
    counts = _counts(call, ids)
    return [_account(row, domains[row.domain_id], users[row.id], counts[row.id]) for row in rows]


def _counts(call: Call, ids: Sequence[str]) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    vms = (
        select(Vm.account_id, Vm.state, func.count())
        .where(Vm.account_id.in_(ids), Vm.kind == VmKind.user, Vm.removed.is_(None))
        .group_by(Vm.account_id, Vm.state)
    )
    for account_id, state, count in call.session.execute(vms):
        counts[account_id]["vmtotal"] += count
        counts[account_id]["vmrunning" if state == VmState.running else "vmstopped"] += count
    for table, name in ((Volume, "volumetotal"), (Network, "networktotal"), (Template, "templatetotal")):
        query = (
            select(table.account_id, func.count())
            .where(table.account_id.in_(ids), table.removed.is_(None))
            .group_by(table.account_id)
        )
        for account_id, count in call.session.execute(query):
            counts[account_id][name] = count
    return counts


def _account(
    row: Account, domain: Domain, users: list[UserResponse], counts: dict[str, int]
) -> AccountResponse:
    role, role_type = ROLES[AccountType(row.type)]
    return AccountResponse(
        id=row.id,
        name=row.name,
        accounttype=int(row.type),
        rolename=role,
        roletype=role_type,
        domain=domain.name,
        domainid=domain.id,
        domainpath=domain_path(domain),
        state=row.state,
        created=wire_time(row.created),
        isdefault=row.name in ("admin", "system"),
        user=users,
        groups=[],
        vmtotal=counts["vmtotal"],
        vmrunning=counts["vmrunning"],
        vmstopped=counts["vmstopped"],
        volumetotal=counts["volumetotal"],
        networktotal=counts["networktotal"],
        templatetotal=counts["templatetotal"],
    )


ACCOUNT = Entity(Account, AccountResponse, "account", account_responses)


class DomainResponse(Response):
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


def domain_responses(call: Call, rows: Sequence[Domain]) -> list[DomainResponse]:
    """Domains on the wire."""
    parents = rows_by_id(call, Domain, (row.parent_id for row in rows))
    query = select(Domain.parent_id).where(
        Domain.parent_id.in_([row.id for row in rows]), Domain.removed.is_(None)
    )
    with_children = set(call.session.scalars(query.distinct()))
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
        )
        for row in rows
    ]


DOMAIN = Entity(Domain, DomainResponse, "domain", domain_responses)


class UserKeys(Response):
    """A user's API key and secret key."""

    apikey: str | None = None
    secretkey: str | None = None
