"""What all tables share: uuid keys as text, creation time, constraint names that Alembic can find again."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import JSON, DateTime, ForeignKey, Index, MetaData, String, text
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column
from sqlalchemy.types import TypeDecorator

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcTime(TypeDecorator[datetime]):
    """A moment in UTC. SQLite drops the zone, so it is put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give naive values the zone they were stored in."""
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class Base(MappedAsDataclass, DeclarativeBase, kw_only=True):
    """Root of all tables; rows are dataclasses, made with keyword arguments."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy reads it from the class)
        dict[str, Any]: JSON,
        dict[str, str]: JSON,
        list[str]: JSON,
        list[float]: JSON,
        datetime: UtcTime,
    }


def new_id() -> str:
    """A fresh lower-case uuid, the form every client recognises as an id."""
    return str(uuid4())


def now() -> datetime:
    """The current moment in UTC, whole seconds (the wire has no fractions)."""
    return datetime.now(UTC).replace(microsecond=0)


def unique_live(*columns: str) -> Index:
    """Unique among the rows that are not removed; a removed row's names and addresses are free again."""
    live = text("removed IS NULL")
    return Index(None, *columns, unique=True, sqlite_where=live, postgresql_where=live)


class Identified(MappedAsDataclass, kw_only=True):
    """A row with an id, a creation time, and a removal time once it is gone for users.

    `removed` has no index: nearly all rows live, and SQLite would prefer it to the indexes that help.
    """

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default_factory=new_id)
    created: Mapped[datetime] = mapped_column(default_factory=now)
    removed: Mapped[datetime | None] = mapped_column(default=None)


class Owned(Identified, kw_only=True):
    """A row that belongs to an account; `domain_id` is repeated from it, because lists filter by both."""

    account_id: Mapped[str] = mapped_column(ForeignKey("account.id"), index=True)
    domain_id: Mapped[str] = mapped_column(ForeignKey("domain.id"), index=True)
