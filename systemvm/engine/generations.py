"""What was applied, in SQLite: so that a machine serves again after a reboot without being told.

One row per generation; the document holds secrets, so the database is for root alone (0600).
"""

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlite_utils import Database
    from sqlite_utils.db import Table

    from systemvm.engine.sqlite import SharedDatabase

log = logging.getLogger(__name__)

#: Generations that are kept, besides the last good one.
KEPT = 10
_NOT_KEPT = """
    generation not in (select generation from generations order by generation desc limit ?)
    and generation is not (select max(generation) from generations where progress = 'applied')
"""


class Progress(StrEnum):
    """How far a generation came. `applying` in the file of an engine that just started means a crash."""

    applying = "applying"
    applied = "applied"
    failed = "failed"


@dataclass(frozen=True)
class Generation:
    """A recorded document: canonical JSON, digest of its renderings, why it failed, Unix time."""

    generation: int
    document: bytes
    digest: str
    progress: Progress
    error: str
    at: float


class Generations:
    """The table of generations in the database at `path`. Safe to use from several threads.

    A file that is no database is put aside as `<name>.corrupt`, so that the machine stays manageable.
    Raises OSError when the disk is full or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        with _disk_errors():
            self._database = _open(path)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def begin(self, generation: int, document: bytes, at: float) -> None:
        """Note that an apply of this generation starts: if nothing else follows, it crashed."""
        self._write(Generation(generation, document, "", Progress.applying, "", at))

    def finish(self, generation: int, document: bytes, digest: str, at: float) -> None:
        """Note that this generation is applied; older rows beyond KEPT are dropped."""
        self._write(Generation(generation, document, digest, Progress.applied, "", at))

    def fail(self, generation: int, document: bytes, error: str, at: float) -> None:
        """Note that this generation failed and why; the last good one holds."""
        self._write(Generation(generation, document, "", Progress.failed, error, at))

    def last_good(self) -> Generation | None:
        """The newest generation that was applied."""
        return self._first("progress = ?", [Progress.applied.value])

    def interrupted(self) -> Generation | None:
        """The generation whose apply was cut by a crash."""
        return self._first("progress = ?", [Progress.applying.value])

    def get(self, generation: int) -> Generation | None:
        """One recorded generation, None if it is unknown or no longer kept."""
        return self._first("generation = ?", [generation])

    def kept(self) -> tuple[Generation, ...]:
        """All that is kept, newest first."""
        with self._database.reading() as database:
            return tuple(_generation(row) for row in _table(database).rows_where(order_by="generation desc"))

    def _first(self, where: str, values: list[Any]) -> Generation | None:
        with self._database.reading() as database:
            rows = _table(database).rows_where(where, values, order_by="generation desc", limit=1)
            return next((_generation(row) for row in rows), None)

    def _write(self, row: Generation) -> None:
        with _disk_errors(), self._database.writing() as database:
            table = _table(database)
            # A generation that failed may be sent again; the row of its last try holds.
            table.upsert(vars(row), pk="generation")
            table.delete_where(_NOT_KEPT, [KEPT])


def _open(path: Path) -> "SharedDatabase":
    # Imported here: it costs a second on an emulated processor, and the agent must answer before.
    from systemvm.engine.sqlite import SharedDatabase

    path.parent.mkdir(parents=True, exist_ok=True)
    # Created before SQLite does, so that it is never readable by others, not even for a moment.
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    path.chmod(0o600)
    shared = SharedDatabase(path)
    try:
        with shared.writing() as database:
            _migrate(database)
    except sqlite3.OperationalError:
        shared.close()
        raise
    except sqlite3.DatabaseError as error:
        shared.close()
        aside = path.with_name(f"{path.name}.corrupt")
        log.error("%s is put aside as %s, because %s", path, aside.name, error)
        path.replace(aside)
        return _open(path)
    return shared


def _migrate(database: "Database") -> None:
    from sqlite_utils import Migrations

    migrations = Migrations("pileus.agent")

    @migrations(transactional=False)  # they all run in one transaction already
    def m001_generations(database: "Database") -> None:
        columns = {
            "generation": int,
            "document": bytes,
            "digest": str,
            "progress": str,
            "error": str,
            "at": float,
        }
        _table(database).create(columns, pk="generation")

    migrations.apply(database)


def _table(database: "Database") -> "Table":
    return database.table("generations")


def _generation(row: dict[str, Any]) -> Generation:
    return Generation(**{**row, "progress": Progress(row["progress"])})


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OSError(f"the record of generations cannot be written: {error}") from None
