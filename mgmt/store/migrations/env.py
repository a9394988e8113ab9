"""Alembic's environment: it runs on the connection that `mgmt.store.migrate` hands over."""

from typing import Literal

from alembic import context

from mgmt.store.tables import Base
from mgmt.store.tables.base import UtcTime


def render_item(kind: str, item: object, autogen: object) -> str | Literal[False]:
    """Write our own column type as the plain one it is in the database."""
    return "sa.DateTime(timezone=True)" if isinstance(item, UtcTime) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite cannot alter a column in place
    compare_type=True,
    render_item=render_item,
)
with context.begin_transaction():
    context.run_migrations()
