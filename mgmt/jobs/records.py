"""The database of the workflow engine, as far as its own settings would cost us.

Beside an SQLite store the engine would use SQLite's defaults: a rollback journal, where a reader stops the
writer, and waiting by polling, where under many threads one may wait until it gives up. It gets a write-ahead
log and one connection instead, which its threads take in turns; what it has recorded survives a power cut.
"""

from typing import Any

from sqlalchemy import Engine, QueuePool, create_engine, event

#: Seconds that a thread waits for its turn.
TURN_SECONDS = 120


def open_records(url: str) -> Engine | None:
    """The engine for an SQLite file; None where the workflow engine's own is good (PostgreSQL)."""
    if not url.startswith("sqlite"):
        return None
    engine = create_engine(
        url, poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=TURN_SECONDS, pool_pre_ping=False
    )
    event.listen(engine, "connect", _prepare)
    return engine


def _prepare(connection: Any, record: object) -> None:
    connection.isolation_level = "IMMEDIATE"
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
        connection.execute(f"PRAGMA {pragma}")
