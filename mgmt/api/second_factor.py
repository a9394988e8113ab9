"""The second factor: codes of an authenticator app (TOTP, RFC 6238), 30 seconds each."""

from datetime import datetime

import pyotp
from sqlalchemy import update
from sqlalchemy.orm import Session

from mgmt.api.call import Call
from mgmt.model.errors import PermissionDenied
from mgmt.store.tables import LoginSession, User

PROVIDER = "totp"
ISSUER = "Pileus"
SECRET_CONTEXT = "user.totp_secret"  # noqa: S105 (the name of a column)
DRIFT_STEPS = 1
"""Steps that the user's clock may be ahead or behind (RFC 6238 section 5.2 recommends at most one)."""


def new_secret() -> str:
    """A secret of 160 bits, in base32 as authenticator apps take it."""
    return pyotp.random_base32()


def step_of_code(secret: str, code: str, now: datetime) -> int | None:
    """The time step that a code is of, None if it is wrong or too old."""
    totp = pyotp.TOTP(secret)
    step = totp.timecode(now)
    near = range(step - DRIFT_STEPS, step + DRIFT_STEPS + 1)
    return next((each for each in near if pyotp.utils.strings_equal(totp.generate_otp(each), code)), None)


def mandate(call: Call, user: User, *, wanted: bool) -> None:
    """Make a user set up codes before anything else, or make it the user's choice again.

    Raises `PermissionDenied` unless the caller is an administrator, and not the one freed from it.
    """
    caller = call.caller
    if not caller.is_admin or (caller.user.id == user.id and not wanted):
        raise PermissionDenied(f"Ask another administrator to change mandate2fa of user {user.username}")
    user.totp_mandated = wanted
    if wanted and not user.totp_enabled:
        ask_for_code(call.session, user)


def ask_for_code(session: Session, user: User, *, but: LoginSession | None = None) -> None:
    """Let all open sessions of a user prove the second factor, `but` one that just did."""
    sessions = update(LoginSession).where(LoginSession.user_id == user.id)
    if but is not None:
        sessions = sessions.where(LoginSession.id_hash != but.id_hash)
    session.execute(sessions.values(needs_code=True))
