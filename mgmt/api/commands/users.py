"""Users: who logs in, and their API keys."""

import secrets
from dataclasses import dataclass
from typing import Annotated, Any

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.orm import Session

from mgmt.api.absent import CustomId, must_stay
from mgmt.api.access import ADMINS, EVERYONE, Ref, may_have
from mgmt.api.auth import SECRET_KEY_CONTEXT
from mgmt.api.call import Call
from mgmt.api.lists import Equals, ListCommand
from mgmt.api.ownership import OWNER, OwnerDomain, in_domain
from mgmt.api.params import Unsupported, wrong_value
from mgmt.api.project_members import leave_projects
from mgmt.api.registry import DONE, AsyncCommand, Response, Spec, SyncCommand
from mgmt.api.responses.identity import USER, UserKeys
from mgmt.api.second_factor import mandate
from mgmt.api.sessions import end_sessions
from mgmt.model.errors import ParameterError, PermissionDenied
from mgmt.store.passwords import hash_password, password_matches
from mgmt.store.tables import Account, Job, User

KEY_BYTES = 48
LEAST_PASSWORD = 8
TOP = "/"
"""The path of the domain above all."""


@dataclass(frozen=True)
class NewUser:
    """What a user is made of."""

    username: str
    password: str
    firstname: str
    lastname: str
    email: str
    timezone: str


def add_user(session: Session, account: Account, new: NewUser) -> User:
    """Insert a user. Raises `ParameterError` if the name is taken in the domain or the password too short."""
    check_password(new.password)
    taken = (
        select(User.id)
        .join(Account, Account.id == User.account_id)
        .where(Account.domain_id == account.domain_id, User.username == new.username, User.removed.is_(None))
    )
    if session.scalar(taken):
        raise ParameterError(f"The domain already has a user {new.username}; choose another username")
    user = User(
        account_id=account.id,
        username=new.username,
        password=hash_password(new.password),
        firstname=new.firstname,
        lastname=new.lastname,
        email=new.email,
        timezone=new.timezone,
    )
    session.add(user)
    return user


def check_password(password: str) -> None:
    """Raise `ParameterError` for a password that is too short."""
    if len(password) < LEAST_PASSWORD:
        raise ParameterError(f"The password is too short: at least {LEAST_PASSWORD} characters are needed")


class ListUsers(ListCommand, kw_only=True, frozen=True):
    """Lists users."""

    spec = Spec(answer=USER, access=EVERYONE)
    searched = (User.username, User.firstname, User.lastname, User.email)

    username: Annotated[str | None, "the name of the user", Equals(User.username)] = None
    state: Annotated[str | None, "enabled, disabled or locked", Equals(User.state)] = None
    account: Annotated[str | None, OWNER, "list only users of this account"] = None
    domainid: OwnerDomain = None
    accounttype: Annotated[int | None, "0 user, 1 root admin, 2 domain admin"] = None
    listall: bool = False
    isrecursive: bool = False

    def ownership(self, call: Call) -> ColumnElement[bool] | None:
        """Users see themselves, administrators the users of their domains."""
        caller = call.caller
        if not caller.is_admin:
            return User.account_id == caller.account.id
        if self.account is not None:
            return User.account_id == call.owner.account.id
        start = self.domainid or caller.domain.id
        if not caller.covers_domain(call.session, start):
            raise PermissionDenied(f"Domain {start} is not yours to list; leave domainid away")
        recursive = self.isrecursive or self.listall or self.domainid is None
        if recursive and caller.domain.path == TOP and start == caller.domain.id:
            return None  # all of them: the condition would be looked up for each user
        accounts = select(Account.id).where(
            in_domain(call.session, Account.domain_id, start, recursive=recursive)
        )
        return User.account_id.in_(accounts)

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """Users of one kind of account."""
        if self.accounttype is None:
            return query
        return query.where(User.account_id.in_(select(Account.id).where(Account.type == self.accounttype)))


class CreateUser(SyncCommand, kw_only=True, frozen=True):
    """Creates a user in an account."""

    spec = Spec(answer=USER, access=ADMINS, event="USER.CREATE", governs=True)

    account: Annotated[str, OWNER, "the name of the account"]
    username: Annotated[str, "the name to log in with"]
    password: Annotated[str, "the password of the user"]
    firstname: Annotated[str, "the first name of the user"]
    lastname: Annotated[str, "the last name of the user"]
    email: Annotated[str, "the address of the user"]
    domainid: OwnerDomain = None
    timezone: Annotated[str, "the time zone of the user"] = "UTC"
    userid: CustomId = None

    def run(self, call: Call) -> User:
        """Check and insert."""
        new = NewUser(self.username, self.password, self.firstname, self.lastname, self.email, self.timezone)
        return add_user(call.session, call.owner.account, new)


class UpdateUser(SyncCommand, kw_only=True, frozen=True):
    """Updates a user."""

    spec = Spec(answer=USER, access=EVERYONE, event="USER.UPDATE", governs=True)

    id: Annotated[str, Ref(User)]
    firstname: Annotated[str | None, "the first name"] = None
    lastname: Annotated[str | None, "the last name"] = None
    email: Annotated[str | None, "the address"] = None
    timezone: Annotated[str | None, "the time zone"] = None
    password: Annotated[str | None, "the new password"] = None
    currentpassword: Annotated[str | None, "the current password; needed to change one's own"] = None
    mandate2fa: Annotated[bool | None, "true: the user must set up a second factor; for administrators"] = (
        None
    )
    username: Annotated[str | None, "as it is: a user keeps the name"] = None
    userapikey: Annotated[str | None, Unsupported("registerUserKeys makes keys")] = None
    usersecretkey: Annotated[str | None, Unsupported("registerUserKeys makes keys")] = None

    def run(self, call: Call) -> User:
        """Change what was sent; a new password ends the user's sessions."""
        user = call.row(User, self.id)
        must_stay("username", self.username, user.username)
        for name in ("firstname", "lastname", "email", "timezone"):
            value = getattr(self, name)
            if value is not None:
                setattr(user, name, value)
        if self.password:
            self._change_password(call, user, self.password)
        if self.mandate2fa is not None:
            mandate(call, user, wanted=self.mandate2fa)
        return user

    def _change_password(self, call: Call, user: User, password: str) -> None:
        check_password(password)
        own = user.id == call.caller.user.id
        if own and not password_matches(user.password, self.currentpassword or ""):
            raise wrong_value("currentpassword", "(hidden)", "the user's current password")
        user.password = hash_password(password)
        end_sessions(call.session, user.id)


class EnableUser(SyncCommand, kw_only=True, frozen=True):
    """Enables a user."""

    spec = Spec(answer=USER, access=ADMINS, event="USER.ENABLE", governs=True)

    id: Annotated[str, Ref(User)]

    def run(self, call: Call) -> User:
        """Let the user in again."""
        user = call.row(User, self.id)
        user.state = "enabled"
        return user


class DisableUser(AsyncCommand, kw_only=True, frozen=True):
    """Disables a user: log-ins and keys are refused."""

    spec = Spec(answer=USER, access=ADMINS, event="USER.DISABLE", governs=True)

    id: Annotated[str, Ref(User)]

    def run(self, call: Call) -> Job:
        """Shut the user out."""
        user = call.row(User, self.id)
        refuse_self(call, user, "disabled")
        user.state = "disabled"
        end_sessions(call.session, user.id)
        return call.finish(kind="User", about=user)


class LockUser(SyncCommand, kw_only=True, frozen=True):
    """Locks a user until enableUser: log-ins and keys are refused."""

    spec = Spec(answer=USER, access=ADMINS, event="USER.LOCK", governs=True)

    id: Annotated[str, Ref(User)]

    def run(self, call: Call) -> User:
        """Shut the user out; one that is disabled stays so."""
        user = call.row(User, self.id)
        refuse_self(call, user, "locked")
        if user.state == "disabled":
            raise ParameterError(f"User {user.username} is disabled, which is more than locked")
        user.state = "locked"
        end_sessions(call.session, user.id)
        return user


class DeleteUser(SyncCommand, kw_only=True, frozen=True):
    """Deletes a user."""

    spec = Spec(access=ADMINS, event="USER.DELETE", governs=True)

    id: Annotated[str, Ref(User)]

    def run(self, call: Call) -> Response:
        """Remove the user with keys and sessions."""
        user = call.row(User, self.id)
        refuse_self(call, user, "deleted")
        leave_projects(call, user)
        user.removed = call.now()
        user.api_key = user.secret_key = user.totp_secret = None
        end_sessions(call.session, user.id)
        return DONE


class RegisterUserKeys(SyncCommand, kw_only=True, frozen=True):
    """Gives a user a new API key and secret key; the old ones end."""

    spec = Spec(answer=UserKeys, key="userkeys", access=EVERYONE, event="REGISTER.USER.KEY", governs=True)

    id: Annotated[str, Ref(User)]

    def run(self, call: Call) -> Response:
        """Make keys; the secret one is sealed in the database."""
        user = call.row(User, self.id)
        secret = secrets.token_urlsafe(KEY_BYTES)
        user.api_key = secrets.token_urlsafe(KEY_BYTES)
        user.secret_key = call.context.seal.close(secret, SECRET_KEY_CONTEXT)
        return UserKeys(apikey=user.api_key, secretkey=secret)


class GetUserKeys(SyncCommand, kw_only=True, frozen=True):
    """Gives a user's API key and secret key."""

    spec = Spec(answer=UserKeys, key="userkeys", access=EVERYONE, governs=True)

    id: Annotated[str, Ref(User)]

    def run(self, call: Call) -> Response:
        """Open the sealed key."""
        user = call.row(User, self.id)
        if user.api_key is None or user.secret_key is None:
            return UserKeys()
        return UserKeys(
            apikey=user.api_key, secretkey=call.context.seal.open(user.secret_key, SECRET_KEY_CONTEXT)
        )


class GetUser(SyncCommand, kw_only=True, frozen=True):
    """Finds the user of an API key."""

    spec = Spec(answer=USER, access=EVERYONE)

    userapikey: Annotated[str, "the API key of the user"]

    def run(self, call: Call) -> User:
        """A key is a user's own; others' keys are administrators' business."""
        user = call.session.scalar(
            select(User).where(User.api_key == self.userapikey, User.removed.is_(None))
        )
        if user is None or not may_have(call.caller, call.session, user):
            raise wrong_value("userapikey", "(hidden)", "the API key of a user you may see")
        return user


def refuse_self(call: Call, user: User, word: str) -> None:
    """Raise `ParameterError` if the user is the caller."""
    if user.id == call.caller.user.id:
        raise ParameterError(f"User {user.username} is you; it cannot be {word}")
