"""Locks by name: two jobs never work on one network or VM at once, whichever management server runs them."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b

from sqlalchemy import Engine, func, select
from sqlalchemy.exc import DBAPIError

#: Seconds between two looks whether another server gave a lock back: at first, and at most.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.2


class Locks:
    """Re-entrant locks of one server, which come into being when they are first asked for."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Wait for the lock and keep it to the end of the block."""
        with self._guard:
            lock = self._locks[name]
        with lock:
            yield

    @contextmanager
    def try_hold(self, name: str) -> Iterator[bool]:
        """Keep the lock if nobody else has it; whether that is so."""
        with self._guard:
            lock = self._locks[name]
        taken = lock.acquire(blocking=False)
        try:
            yield taken
        finally:
            if taken:
                lock.release()

    def keep(self, name: str) -> bool:
        """Take a duty that one server has, until this process ends; whether it is ours. Alone: always."""
        return True

    def close(self) -> None:
        """Give back what is kept."""


class SharedLocks(Locks):
    """Locks that all servers on one PostgreSQL respect: advisory locks of one connection, ours.

    Threads of this server wait for each other as ever, and then for the other servers. The database gives
    the locks back when the connection ends: with the process, or when another server cuts it off. `lost` is
    called when that happens under way, because then others may already do what the locks were to prevent.
    """

    def __init__(self, engine: Engine, lost: Callable[[str], None]) -> None:
        super().__init__()
        self._connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self._lost = lost
        self._door = threading.Lock()
        self._depth: defaultdict[str, int] = defaultdict(int)
        self._kept: set[str] = set()

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Wait for the lock and keep it to the end of the block."""
        with super().hold(name):
            pause = _FIRST_PAUSE
            while not self._enter(name):
                time.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            try:
                yield
            finally:
                self._leave(name)

    @contextmanager
    def try_hold(self, name: str) -> Iterator[bool]:
        """Keep the lock if nobody else has it; whether that is so."""
        with super().try_hold(name) as is_ours:
            taken = is_ours and self._enter(name)
            try:
                yield taken
            finally:
                if taken:
                    self._leave(name)

    def keep(self, name: str) -> bool:
        """Take a duty that one server has, until this process ends; whether it is ours."""
        if name not in self._kept and self._ask(func.pg_try_advisory_lock, name):
            self._kept.add(name)
        return name in self._kept

    def close(self) -> None:
        """Give everything back."""
        with self._door:
            if not self._connection.closed:
                self._connection.invalidate()
                self._connection.close()

    def _enter(self, name: str) -> bool:
        """Called by the one thread that has the lock here."""
        if self._depth[name] == 0 and not self._ask(func.pg_try_advisory_lock, name):
            del self._depth[name]
            return False
        self._depth[name] += 1
        return True

    def _leave(self, name: str) -> None:
        self._depth[name] -= 1
        if self._depth[name] == 0:
            del self._depth[name]
            self._ask(func.pg_advisory_unlock, name)

    def _ask(self, function: Callable[[int], object], name: str) -> bool:
        key = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), signed=True)
        try:
            with self._door:
                return bool(self._connection.scalar(select(function(key))))  # type: ignore[call-overload]
        except DBAPIError as error:
            self._lost(f"the connection that holds its locks broke: {error.orig}")
            raise
