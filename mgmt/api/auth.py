"""Who calls: by the signature of an API key, or by a session."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass

from flask import Request
from sqlalchemy.orm import Session

from mgmt.api.access import Caller
from mgmt.api.call import Context
from mgmt.api.registry import REGISTRY, Registered
from mgmt.api.sessions import SESSION_COOKIE, find_session_caller, is_enabled, load_key_caller
from mgmt.api.signature import REFUSED, check_expiry, signature_matches
from mgmt.model.errors import Unauthorized, WrongMethod

OWN_SITE = ("same-origin", "none")
SECRET_KEY_CONTEXT = "user.secret_key"  # noqa: S105 (the name of a column)


@dataclass(frozen=True)
class Attempt:
    """A call before anybody is believed. `pairs` are the parameters as sent, `flat` with lower-case names."""

    request: Request
    pairs: Mapping[str, str]
    flat: Mapping[str, str]

    @property
    def has_key(self) -> bool:
        """Whether it is a signed call."""
        return "apikey" in self.flat


def authenticate(context: Context, attempt: Attempt, reading: Session | None = None) -> Caller:
    """The caller, read in the transaction of the call if it has one. Raises `Unauthorized`."""
    if attempt.has_key:
        return _by_signature(context, attempt, reading)
    session_id = attempt.request.cookies.get(SESSION_COOKIE)
    session_key = attempt.flat.get("sessionkey")
    if not session_id or not session_key:
        raise Unauthorized("unable to verify user credentials: sign the request with an API key, or log in")
    return find_session_caller(context, session_id, session_key)


def check_method(context: Context, attempt: Attempt, registered: Registered) -> None:
    """Raise `WrongMethod` for a change by GET under a session in a browser."""
    if attempt.has_key or not registered.changes or attempt.request.method == "POST":
        return
    if context.config.strict_post or "Sec-Fetch-Site" in attempt.request.headers:
        raise WrongMethod(f"{registered.name} changes something, so under a session it must be sent by POST")


def refuse_foreign_page(attempt: Attempt) -> None:
    """Raise `WrongMethod` if a browser logs in or out because a page of somebody else told it to.

    These two need no session key, so a foreign page could otherwise put a visitor into another's session,
    or out of the own one.
    """
    site = attempt.request.headers.get("Sec-Fetch-Site")
    if site is None:
        return
    if site not in OWN_SITE or attempt.request.method != "POST":
        raise WrongMethod("A browser logs in and out by POST from a page of this server only")


def _by_signature(context: Context, attempt: Attempt, reading: Session | None) -> Caller:
    flat = attempt.flat
    signature = flat.get("signature")
    known = REGISTRY.find(flat.get("command", "")) is not None
    if not signature or not known:
        raise Unauthorized(REFUSED)
    check_expiry(flat.get("signatureversion"), flat.get("expires"), context.clock())
    with nullcontext(reading) if reading else context.database.reading() as session:
        caller = load_key_caller(session, flat["apikey"])
    if caller is None or caller.user.secret_key is None:
        raise Unauthorized(REFUSED)
    secret = context.seal.open(caller.user.secret_key, SECRET_KEY_CONTEXT)
    if not signature_matches(attempt.pairs, signature, secret) or not is_enabled(caller):
        raise Unauthorized(REFUSED)
    return caller
