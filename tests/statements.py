"""SQL statements are compiled once in a process, not once for each of its many databases.

SQLAlchemy keeps what it compiled per engine. A server has one engine for its whole life; a run of tests has
thousands, and would spend a third of its time on compiling the same statements again.
"""

from functools import partial
from typing import Any

import sqlalchemy
from sqlalchemy.engine.default import DefaultDialect

from mgmt.store import database


def share_compiled_statements() -> None:
    """Let all engines that `mgmt.store` opens from now on keep them in one place."""
    DefaultDialect.__hash__ = _hash  # type: ignore[method-assign]
    DefaultDialect.__eq__ = _is_same  # type: ignore[method-assign]
    shared: dict[Any, Any] = {}
    options = {"compiled_cache": shared}
    database.create_engine = partial(sqlalchemy.create_engine, execution_options=options)  # type: ignore[attr-defined]


def _hash(dialect: DefaultDialect) -> int:
    return hash(type(dialect))


def _is_same(dialect: DefaultDialect, other: object) -> bool:
    """Dialects are the keys of what was compiled: those of the same server write the same SQL."""
    return type(dialect) is type(other)
