"""Calls that only read take turns: few are computed at a time, each in one transaction.

One thread of a process computes at a time. The others would get the processor whenever a row is fetched, only
to lose it again at the next one: docs/decisions/0022 has the numbers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from sqlalchemy.orm import Session

from mgmt.api.registry import Registered
from mgmt.store.database import Database

AT_ONCE = 2
"""One computes while the other waits for the database."""


class ReadingTurns:
    """The turns of one server's calls."""

    def __init__(self, database: Database, at_once: int = AT_ONCE) -> None:
        self._database = database
        self._turns = BoundedSemaphore(at_once)

    @contextmanager
    def taken(self, registered: Registered | None) -> Iterator[Session | None]:
        """The transaction of a call that only reads, as soon as it is its turn; None, at once, for others."""
        if registered is None or registered.changes or registered.writes:
            yield None
            return
        with self._turns, self._database.reading() as session:
            yield session
