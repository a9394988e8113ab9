"""Failed log-ins and codes: after a few, whoever sent them must wait."""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import IPv6Address, IPv6Network, ip_address
from threading import Lock

from mgmt.model.errors import TooManyRequests

MOST_FAILURES = 10
WINDOW = timedelta(minutes=5)
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


@dataclass
class Throttle:
    """Counts failures per (origin, user name), or per user, in a sliding window; kept in memory only.

    `check` comes before the secret is looked at, `settle` after. Of attempts at the same time, those that end
    after the last allowed failure learn nothing, not even that they were right.
    """

    failures: dict[Key, deque[datetime]] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def check(self, key: Key, now: datetime) -> None:
        """Raise `TooManyRequests` if there were too many failures lately."""
        with self.lock:
            self._check(key, now)

    def settle(self, key: Key, now: datetime, *, right: bool) -> None:
        """Count a failure, or forget all of somebody who got in. Raises `TooManyRequests`."""
        with self.lock:
            self._check(key, now)
            if right:
                self.failures.pop(key, None)
                return
            if key not in self.failures and len(self.failures) >= MOST_KEYS:
                self._forget(now)
            self.failures.setdefault(key, deque(maxlen=MOST_FAILURES)).append(now)

    def _check(self, key: Key, now: datetime) -> None:
        recent = self._recent(key, now)
        if recent is None or len(recent) < MOST_FAILURES:
            return
        wait = int((recent[0] + WINDOW - now).total_seconds()) + 1
        raise TooManyRequests(f"{MOST_FAILURES} attempts of {key[1]} failed; try again in {wait} seconds")

    def _recent(self, key: Key, now: datetime) -> deque[datetime] | None:
        times = self.failures.get(key)
        while times and times[0] + WINDOW <= now:
            times.popleft()
        if times is not None and not times:
            del self.failures[key]
        return times

    def _forget(self, now: datetime) -> None:
        """Make room: the old ones go, then those with the fewest failures, so that no flood lifts a ban."""
        for key in list(self.failures):
            self._recent(key, now)
        for key in sorted(self.failures, key=lambda each: len(self.failures[each]))[: MOST_KEYS // 10]:
            if len(self.failures) >= MOST_KEYS:
                del self.failures[key]
