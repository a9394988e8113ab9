"""The end of an account: all that it owns, its memberships, its users, itself."""

from collections.abc import Iterable

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from mgmt.model.errors import ParameterError
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga
from mgmt.ops.tenancy import belongings
from mgmt.ops.tenancy.projects import administered_alone, memberships_of, remove_member
from mgmt.store.tables import Account, LoginSession, ProjectInvitation, User
from mgmt.store.tables.base import now

DISABLED = "disabled"


def delete_account(runtime: Runtime, saga: Saga, *, account_id: str) -> None:
    """Remove an account with all that it owns, for good.

    What is removed stays removed if a later part cannot be; the account is disabled then, and can be
    deleted again.
    """
    with runtime.locks.hold(f"account:{account_id}"):
        belongings.remove_all(runtime, saga, account_id)
        saga.step("remove the account", lambda: _remove(runtime, account_id))


def shut_out(session: Session, accounts: Iterable[Account]) -> None:
    """Let nobody of these accounts call anything from now on."""
    for account in accounts:
        account.state = DISABLED
        users = select(User.id).where(User.account_id == account.id)
        session.execute(delete(LoginSession).where(LoginSession.user_id.in_(users)))


def refuse_if_needed(session: Session, account: Account) -> None:
    """Raise ParameterError if projects would have no administrator without the account."""
    if projects := administered_alone(session, account.id):
        names = ", ".join(project.name for project in projects)
        raise ParameterError(
            f"Account {account.name} is the only administrator of project {names}: make another member"
            " one (updateProject), or delete the project first"
        )


def remove_account(session: Session, account: Account) -> None:
    """Remove an account that owns nothing any more, with its users. Raises ParameterError, InUse."""
    refuse_if_needed(session, account)
    advice = "these came meanwhile; delete the account again"
    belongings.refuse_while_it_owns(session, account.id, f"account {account.name}", advice)
    moment = now()
    for member in memberships_of(session, account.id):
        remove_member(session, member)
    invited = update(ProjectInvitation).where(
        ProjectInvitation.account_id == account.id, ProjectInvitation.removed.is_(None)
    )
    session.execute(invited.values(removed=moment))
    shut_out(session, [account])
    for user in session.scalars(select(User).where(User.account_id == account.id)):
        user.removed = user.removed or moment
        user.api_key = user.secret_key = user.totp_secret = None
    belongings.remove_rows(session, account.id, moment)
    account.removed = moment


def _remove(runtime: Runtime, account_id: str) -> None:
    with runtime.database.writing() as session:
        account = session.get_one(Account, account_id)
        if account.removed is None:
            remove_account(session, account)
