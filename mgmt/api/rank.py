"""Rank: nobody governs accounts, users or roles that may call more than oneself.

Commands with `Spec(governs=True)` change who may do what: they make, change, disable and delete accounts,
users, keys and roles. What they name is compared with the caller before they run, and with what they made of
it afterwards; and whatever they did, a root administrator with all rights who can get in must remain.
"""

from collections.abc import Iterator

from sqlalchemy import select

from mgmt.api.call import Call
from mgmt.api.registry import REGISTRY
from mgmt.api.rights import Rights, rights_of_account, rights_of_role
from mgmt.model.errors import ParameterError, PermissionDenied
from mgmt.model.states import AccountType
from mgmt.store.defaults import SYSTEM
from mgmt.store.roles import ROLE_OF_TYPE
from mgmt.store.tables import Account, Role, RolePermission, User

ENABLED = "enabled"


def check_rank(call: Call, own: Rights) -> None:
    """Raise `PermissionDenied` if what the call names, or has made, exceeds the caller's own rights."""
    for account in _accounts(call):
        if is_system(account):
            raise PermissionDenied(f"Account {account.name} is the system's own; leave it as it is")
        _compare(f"Account {account.name}", rights_of_account(call.session, account), own)
    for role in _roles(call):
        _compare(f"Role {role.name}", rights_of_role(call.session, role), own)


def check_root_remains(call: Call) -> None:
    """Raise `ParameterError` if nobody would be left who may do everything.

    Transactions that ask this run one after the other, because two at once could each count on the other.
    """
    session = call.session
    session.flush()
    name = ROLE_OF_TYPE[AccountType.root_admin]
    session.scalars(select(Role.id).where(Role.name == name, Role.is_default).with_for_update()).all()
    every = {item.name for item in REGISTRY.all() if AccountType.root_admin in item.spec.access}
    users = select(User.account_id).where(User.state == ENABLED, User.removed.is_(None))
    able = select(Account).where(
        Account.type == AccountType.root_admin,
        Account.state == ENABLED,
        Account.removed.is_(None),
        Account.name != SYSTEM,
        Account.id.in_(users),
    )
    by_role = {account.role_id: account for account in session.scalars(able)}
    if not any(every <= rights_of_account(session, account).commands for account in by_role.values()):
        raise ParameterError(
            "No enabled root administrator with all rights would be left; make another one first"
        )


def is_system(account: Account) -> bool:
    """Whether it is the account in whose name the system itself acts."""
    return account.name == SYSTEM and account.type == AccountType.root_admin


def _compare(subject: str, rights: Rights, own: Rights) -> None:
    more = sorted(rights.commands - own.commands)
    if more:
        others = f" and {len(more) - 1} commands more" if len(more) > 1 else ""
        raise PermissionDenied(
            f"{subject} may call {more[0]}{others}, which you may not; ask an administrator who may"
        )


def _accounts(call: Call) -> Iterator[Account]:
    ids = {call.owner.account.id}
    for row in call.rows.values():
        if isinstance(row, Account):
            ids.add(row.id)
        elif isinstance(row, User):
            ids.add(row.account_id)
    yield from call.session.scalars(select(Account).where(Account.id.in_(ids)).order_by(Account.id))


def _roles(call: Call) -> Iterator[Role]:
    ids = set()
    for row in call.rows.values():
        if isinstance(row, Role):
            ids.add(row.id)
        elif isinstance(row, RolePermission):
            ids.add(row.role_id)
    if ids:
        yield from call.session.scalars(select(Role).where(Role.id.in_(ids)).order_by(Role.id))
