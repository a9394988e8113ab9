"""The door to the database: engine, read and write transactions.

SQLite runs in WAL mode: readers never wait for the writer. A writer takes the write lock at its first
statement (BEGIN IMMEDIATE), because a transaction that read first and then wants to write would fail
instead of waiting for its turn.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.orm import Session

from mgmt.store.usage import watch_usage

BUSY_SECONDS = 30
POOL_CONNECTIONS = 32
"""Kept open; as many again when busy: API threads, jobs and the reconcile loop share one pool."""


class WritingSession(Session):
    """A session whose changes are also kept as usage, see `mgmt.store.usage`."""


watch_usage(WritingSession)


class Database:
    """One database: `reading()` and `writing()` give a session that ends with its `with` block."""

    def __init__(self, url: str) -> None:
        self.engine = open_engine(url)
        self._writer = self.engine.execution_options(pileus_writes=True)
        self._turn = threading.Lock()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session on one snapshot; whatever it changed is dropped at the end."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session that commits at the end of the block, or rolls all back if the block raises."""
        with (
            self._turn_to_write(),
            WritingSession(self._writer, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    @contextmanager
    def _turn_to_write(self) -> Iterator[None]:
        """SQLite's own waiting is polling: under many writers one may never see the file free.

        Threads of this process take turns instead; whoever waits too long goes on and is told by SQLite.
        """
        has_turn = self.engine.dialect.name == "sqlite" and self._turn.acquire(timeout=BUSY_SECONDS)
        try:
            yield
        finally:
            if has_turn:
                self._turn.release()

    def close(self) -> None:
        """Close all pooled connections."""
        self.engine.dispose()


def open_engine(url: str) -> Engine:
    """The engine of a database URL (`sqlite:////var/lib/x/mgmt.db`, `postgresql+psycopg://…`)."""
    engine = create_engine(
        url,
        pool_pre_ping=not url.startswith("sqlite"),
        pool_size=POOL_CONNECTIONS,
        max_overflow=POOL_CONNECTIONS,
    )
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, record: object) -> None:
    connection.isolation_level = None  # the driver's own implicit BEGIN would come too late, see below
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",  # NORMAL would lose the last answers that were given when the power fails
        "foreign_keys=ON",
        f"busy_timeout={BUSY_SECONDS * 1000}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("pileus_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
