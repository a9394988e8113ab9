"""Failed log-ins: after a few, the same address and name must wait."""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock

from mgmt.model.errors import TooManyRequests

MOST_FAILURES = 10
WINDOW = timedelta(minutes=5)
MOST_KEYS = 10_000
Key = tuple[str, str]


@dataclass
class Throttle:
    """Counts failures per (address, user name) in a sliding window; kept in memory only."""

    failures: dict[Key, deque[datetime]] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def check(self, key: Key, now: datetime) -> None:
        """Raise `TooManyRequests` if there were too many failures lately."""
        with self.lock:
            recent = self._recent(key, now)
            if recent is None or len(recent) < MOST_FAILURES:
                return
            wait = int((recent[0] + WINDOW - now).total_seconds()) + 1
        raise TooManyRequests(f"{MOST_FAILURES} log-ins of {key[1]} failed; try again in {wait} seconds")

    def failed(self, key: Key, now: datetime) -> None:
        """Count a failure."""
        with self.lock:
            if len(self.failures) >= MOST_KEYS:
                self._forget(now)
            self.failures.setdefault(key, deque(maxlen=MOST_FAILURES)).append(now)

    def succeeded(self, key: Key) -> None:
        """Forget the failures of somebody who got in."""
        with self.lock:
            self.failures.pop(key, None)

    def _recent(self, key: Key, now: datetime) -> deque[datetime] | None:
        times = self.failures.get(key)
        while times and times[0] + WINDOW <= now:
            times.popleft()
        if times is not None and not times:
            del self.failures[key]
        return times

    def _forget(self, now: datetime) -> None:
        for key in list(self.failures):
            self._recent(key, now)
        while len(self.failures) >= MOST_KEYS:
            self.failures.pop(next(iter(self.failures)))
