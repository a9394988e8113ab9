"""Sessions: log-in by name and password, two cookies, a session key as a parameter of every call.

The session key stands in the parameters, where no foreign page can put it, and the cookies are HttpOnly
and SameSite=Lax. A browser must also use POST for whatever changes something. Command line clients use
GET for changes under a session (cmk does), so the rule is for requests that say they come from a browser
(`Sec-Fetch-Site`), unless `strict_post` extends it to all.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam, delete, select
from sqlalchemy.orm import Session

from mgmt.api import throttle
from mgmt.api.access import Caller
from mgmt.api.call import Context
from mgmt.api.throttle import origin
from mgmt.model.configuration import SESSION_MINUTES
from mgmt.model.errors import LoginRefused, MissingParameter, Unauthorized
from mgmt.store.configured import configured
from mgmt.store.passwords import password_matches
from mgmt.store.roles import VERSION
from mgmt.store.tables import Account, Domain, LoginSession, Setting, User

SESSION_COOKIE = "JSESSIONID"
KEY_COOKIE = "sessionkey"
ENABLED = "enabled"
TOKEN_BYTES = 32
LOGIN_TEXT = "Failed to authenticate user {name} in domain {domain}; please provide valid credentials"
EXPIRED = "unable to verify user credentials: the session is unknown or has expired; log in again"


@dataclass(frozen=True)
class Credentials:
    """What a log-in brings."""

    username: str
    password: str
    domain: str
    address: str


@dataclass(frozen=True)
class OpenedSession:
    """A fresh session; its two secrets are known here only."""

    session_id: str
    session_key: str
    caller: Caller
    seconds: int


def read_credentials(form: Mapping[str, str], address: str) -> Credentials:
    """The credentials among the parameters (names in lower case). Raises `MissingParameter`."""
    for name in ("username", "password"):
        if not form.get(name):
            text = f"Unable to execute API command login due to missing parameter {name}"
            raise MissingParameter(text)
    domain = form.get("domainid") or form.get("domain") or "/"
    return Credentials(form["username"], form["password"], domain, address)


def log_in(context: Context, credentials: Credentials) -> OpenedSession:
    """Open a session. Raises `LoginRefused` (531) or `TooManyRequests` (429)."""
    now = context.clock()
    key = (origin(credentials.address), credentials.username.lower())
    with context.database.reading() as session:
        throttle.check(session, key, now)
        caller = _find_by_name(session, credentials)
    known = caller.user.password if caller else None
    right = password_matches(known, credentials.password) and caller is not None and is_enabled(caller)
    with context.database.writing() as session:
        throttle.settle(session, key, now, right=right)
        if caller is not None and right:
            return _open(session, caller, credentials, now)
    raise _refused(credentials)


def _refused(credentials: Credentials) -> LoginRefused:
    return LoginRefused(LOGIN_TEXT.format(name=credentials.username, domain=credentials.domain))


def _open(session: Session, caller: Caller, credentials: Credentials, now: datetime) -> OpenedSession:
    """A new session, unless the password was changed or the user disabled while it was checked."""
    again = load_caller(session, session.get(User, caller.user.id))
    if again is None or again.user.password != caller.user.password or not is_enabled(again):
        raise _refused(credentials)
    seconds = _seconds(session, again.account)
    session.execute(delete(LoginSession).where(LoginSession.expires <= now))
    session_id, session_key = secrets.token_hex(TOKEN_BYTES), secrets.token_urlsafe(TOKEN_BYTES)
    login = LoginSession(
        id_hash=_digest(session_id),
        key_hash=_digest(session_key),
        user_id=again.user.id,
        expires=now + timedelta(seconds=seconds),
        needs_code=again.user.totp_enabled or again.user.totp_mandated,
    )
    session.add(login)
    return OpenedSession(session_id, session_key, again, seconds)


def log_out(context: Context, session_id: str | None) -> None:
    """Forget a session; one that is gone already is no error."""
    if session_id:
        with context.database.writing() as session:
            session.execute(delete(LoginSession).where(LoginSession.id_hash == _digest(session_id)))


def find_session_caller(context: Context, session_id: str, session_key: str) -> Caller:
    """The caller of a session, whose time is prolonged. Raises `Unauthorized`."""
    now = context.clock()
    with context.database.reading() as session:
        found = session.get(LoginSession, _digest(session_id))
        if (
            found is None
            or not hmac.compare_digest(found.key_hash, _digest(session_key))
            or found.expires <= now
        ):
            raise Unauthorized(EXPIRED)
        caller = load_caller(session, session.get(User, found.user_id), found)
        seconds = _seconds(session, caller.account) if caller else 0
    if caller is None or not is_enabled(caller):
        raise Unauthorized(EXPIRED)
    _prolong(context, found, now, timedelta(seconds=seconds))
    return caller


def _seconds(session: Session, account: Account) -> int:
    """How long a session of this account lives without calls."""
    return 60 * configured(session, SESSION_MINUTES, account_id=account.id, domain_id=account.domain_id)


def _prolong(context: Context, found: LoginSession, now: datetime, span: timedelta) -> None:
    """Move the end away once half the time is over: one write now and then, not one per call."""
    if found.expires - now < span / 2:
        with context.database.writing() as session:
            again = session.get(LoginSession, found.id_hash)
            if again is not None:
                again.expires = now + span


def end_sessions(session: Session, *user_ids: str) -> None:
    """End all sessions of these users, wherever they are open."""
    session.execute(delete(LoginSession).where(LoginSession.user_id.in_(user_ids)))


def load_caller(session: Session, user: User | None, login: LoginSession | None = None) -> Caller | None:
    """A user with account, domain and the version of the roles, by one statement; None if one is gone."""
    if user is None or user.removed is not None:
        return None
    version = select(Setting.value).where(Setting.name == VERSION).scalar_subquery()
    query = (
        select(Account, Domain, version)
        .join(Domain, Domain.id == Account.domain_id)
        .where(Account.id == user.account_id, Account.removed.is_(None))
    )
    row = session.execute(query).one_or_none()
    return None if row is None else Caller(user, row[0], row[1], row[2] or "", login)


_VERSION = select(Setting.value).where(Setting.name == VERSION).scalar_subquery()
#: Made once: every signed call runs it, and making it takes longer than running it.
_BY_KEY = (
    select(User, Account, Domain, _VERSION)
    .join_from(User, Account, Account.id == User.account_id)
    .join(Domain, Domain.id == Account.domain_id)
    .where(User.api_key == bindparam("key"), User.removed.is_(None), Account.removed.is_(None))
)


def load_key_caller(session: Session, api_key: str) -> Caller | None:
    """Whose API key it is, as `load_caller`, by one statement; None if nobody's."""
    row = session.execute(_BY_KEY, {"key": api_key}).one_or_none()
    return None if row is None else Caller(row[0], row[1], row[2], row[3] or "")


def is_enabled(caller: Caller) -> bool:
    """Whether user and account are both enabled."""
    return caller.user.state == ENABLED and caller.account.state == ENABLED


def domain_path(text: str) -> str:
    """`/a/b/` for every way clients write it: `a/b`, `/a/b`, `ROOT/a/b`; `/` for ROOT itself."""
    parts = [part for part in text.split("/") if part]
    if parts and parts[0].upper() == "ROOT":
        parts = parts[1:]
    return "/" + "".join(f"{part}/" for part in parts)


def _find_by_name(session: Session, credentials: Credentials) -> Caller | None:
    domain = session.get(Domain, credentials.domain)
    path = domain.path if domain else domain_path(credentials.domain)
    query = (
        select(User)
        .join(Account, Account.id == User.account_id)
        .join(Domain, Domain.id == Account.domain_id)
        .where(User.username == credentials.username, User.removed.is_(None))
        .where(Domain.path == path, Domain.removed.is_(None))
    )
    return load_caller(session, session.scalars(query).first())


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
