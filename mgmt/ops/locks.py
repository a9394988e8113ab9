"""Locks by name within one management server: two jobs never work on one network or VM at once."""

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Locks:
    """Re-entrant locks that come into being when they are first asked for."""

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
