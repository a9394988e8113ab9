"""SQLite files that several threads and processes of one machine share, through sqlite-utils."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlite_utils import Database

#: Seconds to wait for another writer.
PATIENCE = 10.0


class SharedDatabase:
    """A database file; `writing` for changes, `reading` for looks. Creates missing parent folders.

    The commits of one that is not `durable` survive the death of the process, the last seconds' not a reset.
    """

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        # isolation_level None: sqlite3 opens no transactions of its own beside ours.
        self._connection = sqlite3.connect(
            path, timeout=PATIENCE, check_same_thread=False, isolation_level=None
        )
        self._must_be_made_durable = durable
        self._database = Database(self._connection)

    @contextmanager
    def writing(self) -> Iterator[Database]:
        """One transaction that holds the write lock from its start: all or, on an exception, nothing.

        A transaction that begins as a reader cannot wait for its turn to write, it fails at once
        (sqlite.org/lang_transaction.html, "DEFERRED, IMMEDIATE, and EXCLUSIVE").
        """
        with self._lock:
            self._make_durable()
            self._connection.execute("begin immediate")
            try:
                yield self._database
            except BaseException:
                self._connection.rollback()
                raise
            self._connection.commit()

    @contextmanager
    def reading(self) -> Iterator[Database]:
        """The database for reading; no two threads share the connection at one time."""
        with self._lock:
            yield self._database

    def _make_durable(self) -> None:
        """Have commits survive a reset.

        A commit is the removal of the journal, which FULL, the default, leaves to the file system: within its
        next seconds a reset would bring the journal back, and with it the state before
        (sqlite.org/pragma.html#pragma_synchronous). Not done when opening: it reads the file.
        """
        if self._must_be_made_durable:
            self._connection.execute("pragma synchronous = extra")
            self._must_be_made_durable = False

    def close(self) -> None:
        """Close the file; idempotent."""
        self._connection.close()
