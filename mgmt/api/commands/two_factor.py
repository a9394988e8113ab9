"""Two-factor authentication: codes of an authenticator app besides the password."""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta
from sqlalchemy import update
from sqlalchemy.orm import Session

from mgmt.api import throttle
from mgmt.api.access import EVERYONE, Ref
from mgmt.api.call import Call
from mgmt.api.lists import PlainListCommand
from mgmt.api.params import wrong_value
from mgmt.api.registry import DONE, Response, Spec, SyncCommand
from mgmt.api.second_factor import PROVIDER, SECRET_CONTEXT, ask_for_code, new_secret, step_of_code
from mgmt.model.errors import CodeNeeded, ParameterError, PermissionDenied
from mgmt.store.events import record_event
from mgmt.store.tables import LoginSession, User

VALIDATE_EVENT = "USER.2FA.VALIDATE"


class TwoFactorProvider(Response):
    """A kind of codes."""

    name: str
    description: str


class TwoFactorSetup(Response):
    """A user whose codes were set up; the secret is shown here only."""

    id: str
    username: str
    accountid: str
    secretcode: str | None = None


class ListUserTwoFactorAuthenticatorProviders(PlainListCommand, kw_only=True, frozen=True):
    """Lists the kinds of codes that can be a second factor."""

    spec = Spec(answer=TwoFactorProvider, key="providers", access=EVERYONE, before_code=True)

    name: Annotated[str | None, "list only the provider of this name"] = None

    def items(self, call: Call) -> Sequence[Response]:
        """There is one."""
        only = TwoFactorProvider(name=PROVIDER, description="Time-based codes of an authenticator app")
        return [only] if self.name in (None, PROVIDER) else []


class SetupUserTwoFactorAuthentication(SyncCommand, kw_only=True, frozen=True):
    """Sets up codes for oneself, in force after the first right one; or takes them off again."""

    spec = Spec(
        answer=TwoFactorSetup,
        key="setup2fa",
        access=EVERYONE,
        event="USER.2FA.SETUP",
        governs=True,
        before_code=True,
    )

    enable: Annotated[bool, "false: take the second factor off"] = True
    provider: Annotated[str | None, "the kind of codes: totp"] = None
    userid: Annotated[str | None, Ref(User), "whose codes to take off, for administrators"] = None

    def run(self, call: Call) -> Response:
        """Do one or the other, for the caller or (taking off only) for another user."""
        own = call.caller.user.id
        user = call.session.get_one(User, self.userid or own)
        if self.provider not in (None, PROVIDER):
            raise wrong_value("provider", self.provider, PROVIDER)
        if not self.enable:
            return _take_off(call, user)
        if user.id != own:
            raise ParameterError(
                f"Only {user.username} can set up these codes; updateUser mandate2fa=true makes that a must"
            )
        if user.totp_enabled:
            raise ParameterError(f"User {user.username} has a second factor already; take it off first")
        secret = new_secret()
        user.totp_secret = call.context.seal.close(secret, SECRET_CONTEXT)
        user.totp_step = 0
        answer = _setup(user)
        answer.secretcode = secret
        return answer


class ValidateUserTwoFactorAuthenticationCode(SyncCommand, kw_only=True, frozen=True):
    """Proves the second factor of a session by a code; the first one puts it in force."""

    spec = Spec(access=EVERYONE, event=VALIDATE_EVENT, writes=False, before_code=True)

    codefor2fa: Annotated[str, "the code that the authenticator app shows", Meta(max_length=16)]

    def run(self, call: Call) -> Response:
        """Check the code; each is taken once, and failed ones are limited as failed log-ins are.

        In a transaction of its own, because a failure must be counted though the call fails.
        """
        with call.context.database.writing() as session:
            right = self._try(call, session)
        if not right:
            raise CodeNeeded("The code is wrong, too old, or was used before; wait for the next one")
        return DONE

    def _try(self, call: Call, session: Session) -> bool:
        user = session.get_one(User, call.caller.user.id)
        if user.totp_secret is None:
            raise ParameterError(
                f"User {user.username} has no second factor; call setupUserTwoFactorAuthentication first"
            )
        key = (f"code of {user.id}", user.username)
        throttle.check(session, key, call.now())
        secret = call.context.seal.open(user.totp_secret, SECRET_CONTEXT)
        right = _spend(session, user, step_of_code(secret, self.codefor2fa.strip(), call.now()))
        throttle.settle(session, key, call.now(), right=right)
        if right:
            _prove(call, session, user)
        return right


def _spend(session: Session, user: User, step: int | None) -> bool:
    """Whether the code of a time step is right and was not used, by this or any other server."""
    if step is None:
        return False
    fresh = update(User).where(User.id == user.id, User.totp_step < step).values(totp_step=step)
    return bool(session.execute(fresh.returning(User.id)).all())


def _prove(call: Call, session: Session, user: User) -> None:
    """This session has proven the second factor; if it is new, the others must do so too."""
    login = call.caller.login and session.get(LoginSession, call.caller.login.id_hash)
    if not user.totp_enabled:
        user.totp_enabled = True
        ask_for_code(session, user, but=login)
    if login is not None:
        login.needs_code = False
    record_event(
        session,
        VALIDATE_EVENT,
        f"{call.command} is done",
        user_id=call.caller.user.id,
        account_id=call.caller.account.id,
        domain_id=call.caller.domain.id,
    )


def _take_off(call: Call, user: User) -> TwoFactorSetup:
    own = user.id == call.caller.user.id
    if call.caller.needs_code:
        raise CodeNeeded("Prove the second factor first: call validateUserTwoFactorAuthenticationCode")
    if own and user.totp_mandated:
        raise PermissionDenied("Your second factor is mandatory; ask an administrator to take it off")
    user.totp_enabled, user.totp_secret = False, None
    return _setup(user)


def _setup(user: User) -> TwoFactorSetup:
    return TwoFactorSetup(id=user.id, username=user.username, accountid=user.account_id)
