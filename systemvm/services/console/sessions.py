"""Open console sessions: bounded, counted, and written down for the agent's reads."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from systemvm.engine.files import write_atomic
from systemvm.spec.ticket import Ticket

#: Sessions at a time; each is a thread and two sockets.
MAX_SESSIONS = 100
#: Seconds between two writings of the list.
WRITE_EVERY = 2.0


class TooManySessions(Exception):
    """There is no room for another session."""


@dataclass
class Session:
    """One console in one browser; bytes as the VM sees them."""

    vm: str
    host: str
    client: str
    since: float
    received: int = 0
    sent: int = 0


class Sessions:
    """All open sessions; `path` holds them as JSON, at most WRITE_EVERY seconds old."""

    def __init__(self, path: Path, limit: int = MAX_SESSIONS) -> None:
        self._path = path
        self._limit = limit
        self._lock = threading.Lock()
        self._open: list[Session] = []
        self._stop = threading.Event()
        self._writer = threading.Thread(target=self._write_often, name="sessions", daemon=True)
        self._write()

    def start(self) -> None:
        """Begin to write the list; after the process has its final user."""
        self._writer.start()

    @contextmanager
    def opened(self, ticket: Ticket, client: str) -> Iterator[Session]:
        """A session for as long as the block runs. Raises TooManySessions."""
        session = Session(ticket.subject, ticket.host, client, time.time())
        with self._lock:
            if len(self._open) >= self._limit:
                raise TooManySessions(f"all {self._limit} sessions are taken: close one and try again")
            self._open.append(session)
        try:
            yield session
        finally:
            with self._lock:
                self._open.remove(session)

    def listed(self) -> list[dict[str, object]]:
        """Plain data, oldest first."""
        with self._lock:
            return [dict(vars(session)) for session in self._open]

    def close(self) -> None:
        """Stop writing."""
        self._stop.set()
        if self._writer.is_alive():
            self._writer.join()

    def _write_often(self) -> None:
        while not self._stop.wait(WRITE_EVERY):
            self._write()

    def _write(self) -> None:
        write_atomic(self._path, json.dumps(self.listed()).encode(), mode=0o640)
