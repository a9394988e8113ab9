"""Failed log-ins and codes: after a few, whoever sent them must wait, whichever server they ask.

Counted per (origin, user name), or per user, in a sliding window, in one row each. `check` comes before the
secret is looked at, `settle` after. Of attempts at the same time, those that end after the last allowed
failure learn nothing, not even that they were right.
"""

from datetime import datetime, timedelta
from hashlib import sha256
from ipaddress import IPv6Address, IPv6Network, ip_address

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from mgmt.model.errors import TooManyRequests
from mgmt.store.tables import FailedLogIn

MOST_FAILURES = 10
WINDOW = timedelta(minutes=5)
#: How far the clocks of two servers may differ.
SKEW = timedelta(minutes=1)
MOST_KEYS = 10_000
SITE_BITS = 64
Key = tuple[str, str]


def origin(address: str) -> str:
    """Where a request comes from: the address, or the whole /64 of IPv6, which one machine has to itself."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(IPv6Network((parsed, SITE_BITS), strict=False))


def check(session: Session, key: Key, now: datetime) -> None:
    """Raise `TooManyRequests` if there were too many failures lately."""
    row = session.get(FailedLogIn, _hash(key))
    recent = _recent(row, now)
    if len(recent) < MOST_FAILURES:
        return
    wait = int(recent[0] + WINDOW.total_seconds() - now.timestamp()) + 1
    raise TooManyRequests(f"{MOST_FAILURES} attempts of {key[1]} failed; try again in {wait} seconds")


def settle(session: Session, key: Key, now: datetime, *, right: bool) -> None:
    """Count a failure, or forget all of somebody who got in; in a writing session. Raises `TooManyRequests`.

    A failure counts only if the session commits: the caller refuses afterwards.
    """
    check(session, key, now)
    row = session.get(FailedLogIn, _hash(key))
    if right:
        if row is not None:
            session.delete(row)
        return
    times = [*_recent(row, now), now.timestamp()]
    if row is None:
        _make_room(session, now)
        row = FailedLogIn(key_hash=_hash(key), times=times, failures=len(times), last=now)
        session.add(row)
    row.times, row.failures, row.last = times, len(times), now
    session.flush()


def _recent(row: FailedLogIn | None, now: datetime) -> list[float]:
    """Failures within the window; those of a clock that was ahead and went back do not ban anybody."""
    since, until = (now - WINDOW).timestamp(), (now + SKEW).timestamp()
    return [moment for moment in row.times if since < moment <= until] if row is not None else []


def _make_room(session: Session, now: datetime) -> None:
    """The old ones go, then those with the fewest failures, so that no flood lifts a ban."""
    if (session.scalar(select(func.count()).select_from(FailedLogIn)) or 0) < MOST_KEYS:
        return
    session.execute(delete(FailedLogIn).where(FailedLogIn.last <= now - WINDOW))
    left = session.scalar(select(func.count()).select_from(FailedLogIn)) or 0
    if left >= MOST_KEYS:
        order = (FailedLogIn.failures, FailedLogIn.last)
        first = select(FailedLogIn.key_hash).order_by(*order).limit(MOST_KEYS // 10)
        session.execute(delete(FailedLogIn).where(FailedLogIn.key_hash.in_(first)))


def _hash(key: Key) -> str:
    """What a stranger sends as a name may be long, or somebody's password."""
    return sha256("\0".join(key).encode()).hexdigest()
