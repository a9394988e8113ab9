"""The door to the database: engine, read and write transactions.

Writers take turns, on both databases, because what they write depends on what they read: states that allow
a change, counters, the last root administrator. SQLite gives turns with BEGIN IMMEDIATE, PostgreSQL with an
advisory lock, to all servers that share it. Readers never wait (SQLite: WAL mode).
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from select import POLLIN, poll
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, create_engine, event, func, select
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.orm import Session

from mgmt.store.usage import watch_usage

BUSY_SECONDS = 30
#: PostgreSQL ends a transaction that does nothing for so long, and with it the turn of a server that hangs.
IDLE_SECONDS = 20
#: What PostgreSQL is told by each connection. Compiling a statement (jit) takes longer than any of ours runs:
#: sums over 25,000 pools took 280 ms of it, and 70 of work.
_SETTINGS = (f"idle_in_transaction_session_timeout={IDLE_SECONDS}s", "jit=off")
#: A row of a list has several columns of JSON; this reads them several times as fast as `json`.
_read_json = msgspec.json.decode
#: Key of the advisory lock that is the turn to write: "pileus" in ASCII.
WRITE_TURN = 0x70696C657573
POOL_CONNECTIONS = 32
"""Kept open; as many again when busy: API threads, jobs and the reconcile loop share one pool."""
WRITERS, READERS = 4, POOL_CONNECTIONS - 4
"""The same of PostgreSQL, where writers, who take turns, have connections of their own."""
PREPARED = 500
"""Statements that PostgreSQL keeps plans of, for each connection: a deploy and all lists are some 400."""

_TURN = select(func.pg_advisory_xact_lock(WRITE_TURN))
_SHORT_TURN = _TURN.add_columns(func.set_config("synchronous_commit", "off", True))
_NOTE = select(func.pg_logical_emit_message(True, "pileus", ""))


class WritingSession(Session):
    """A session whose changes are also kept as usage, see `mgmt.store.usage`."""


watch_usage(WritingSession)


class Database:
    """One database: `reading()` and `writing()` give a session that ends with its `with` block.

    On PostgreSQL each has connections of its own. Readers' have no transactions: BEGIN and ROLLBACK would be
    two of three round trips, and psycopg forgets with each ROLLBACK what it had prepared, so that each
    statement would be planned anew each time.
    """

    def __init__(self, url: str) -> None:
        self.engine = open_engine(url, keeps=WRITERS)
        self._writer = self.engine.execution_options(pileus_writes=True)
        self._is_shared = not is_sqlite(url)
        self._reader = (
            open_engine(url, keeps=READERS, is_for_readers=True) if self._is_shared else self.engine
        )
        self._turn = threading.Lock()

    @property
    def engines(self) -> tuple[Engine, ...]:
        """All that have connections."""
        return tuple(dict.fromkeys((self.engine, self._reader)))

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that writes nothing: what is changed in it is dropped at the end.

        SQLite shows it one snapshot, PostgreSQL a new one to each statement.
        """
        with Session(self._reader, expire_on_commit=False, autoflush=False) as session:
            yield session

    @contextmanager
    def writing(self, *, is_awaited: bool = True) -> Iterator[Session]:
        """A session that commits at the end of the block, or rolls all back if the block raises.

        What is committed is on the disk when the block has ended. With `is_awaited` False only once anything
        that is committed later is: for what is done again, the same way, if the power fails before that.
        """
        with self._turn_to_write(), self.beside_writers() as session:
            take_turn(session, keeps_disk_waiting=self._is_shared)
            yield session
        if is_awaited and self._is_shared:
            self._wait_for_disk()

    @contextmanager
    def beside_writers(self) -> Iterator[Session]:
        """As `writing`, but without a turn: for one statement that depends on nothing read before."""
        with WritingSession(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    def _wait_for_disk(self) -> None:
        """Wait until PostgreSQL has flushed all that was committed before: its log is one sequence.

        Nobody has the turn meanwhile, and who waits at once is served by one flush. The note in the log says
        nothing to anybody; without it there would be nothing to flush for.
        """
        with self._reader.connect() as connection:
            connection.execute(_NOTE)

    def analyze(self) -> None:
        """Have PostgreSQL look at what is there, after very many rows came at once.

        It does so by itself, but minutes later, and until then chooses plans as if there were nothing: at
        25,000 VMs a deploy took a third longer.
        """
        if self._is_shared:
            with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("VACUUM (ANALYZE)")

    @contextmanager
    def _turn_to_write(self) -> Iterator[None]:
        """Threads of this process take turns before they take a connection.

        SQLite's own waiting is polling: under many writers one may never see the file free. On PostgreSQL
        waiting writers would use up the connections. Who waits too long goes on, and the database decides.
        """
        has_turn = self._turn.acquire(timeout=BUSY_SECONDS)
        try:
            yield
        finally:
            if has_turn:
                self._turn.release()

    def close(self) -> None:
        """Close all pooled connections."""
        for engine in self.engines:
            engine.dispose()


def take_turn(session: Session | Connection, *, keeps_disk_waiting: bool = False) -> None:
    """Wait until no other transaction writes; the turn lasts as long as this one. SQLite took it at BEGIN.

    With `keeps_disk_waiting` it ends before what was written is on the disk: the caller waits for that.
    """
    connection = session if isinstance(session, Connection) else session.connection()
    if connection.dialect.name == "postgresql":
        connection.execute(_SHORT_TURN if keeps_disk_waiting else _TURN)


def open_engine(
    url: str, name: str = "pileus", *, keeps: int = POOL_CONNECTIONS, is_for_readers: bool = False
) -> Engine:
    """The engine of a database URL (`sqlite:////var/lib/x/mgmt.db`, `postgresql+psycopg://…`).

    `name` is what PostgreSQL shows of its connections (`application_name`), of which it `keeps` so many;
    those for readers commit after each statement, and write nothing.
    """
    common: dict[str, Any] = {
        "json_deserializer": _read_json,
        "max_overflow": POOL_CONNECTIONS,
        "pool_use_lifo": True,  # a connection has the pages, or knows the plans, of what it ran before
    }
    if is_sqlite(url):
        engine = create_engine(url, pool_size=POOL_CONNECTIONS, **common)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    settings = [*_SETTINGS, "default_transaction_read_only=on"] if is_for_readers else _SETTINGS
    engine = create_engine(
        url,
        connect_args={"application_name": name, "options": " ".join(f"-c {each}" for each in settings)},
        isolation_level="AUTOCOMMIT" if is_for_readers else None,
        pool_size=keeps,
        **common,
    )
    event.listen(engine, "connect", _prepare_postgres)
    event.listen(engine, "checkout", _see_that_it_lives)
    return engine


def is_sqlite(url: str) -> bool:
    """Whether a database URL is of a file."""
    return url.startswith("sqlite")


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


def _prepare_postgres(connection: Any, record: object) -> None:
    connection.prepared_max = PREPARED


def _see_that_it_lives(connection: Any, record: object, proxy: object) -> None:
    """Have the pool take another connection if PostgreSQL ended this one: then there is something to read.

    That costs no round trip, which asking does (`pool_pre_ping`).
    """
    heard = poll()  # select() refuses the descriptors of a process with many
    heard.register(connection.fileno(), POLLIN)
    if heard.poll(0):
        raise DisconnectionError("PostgreSQL has ended the connection, or has something to say about it")
