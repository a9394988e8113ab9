"""Migrations: bring a database to the newest tables, or write the next revision.

`python -m mgmt.store.migrate "what changes"` compares the tables in the code with those the revisions make
and writes a new revision for the difference; have it formatted, and read it, before it is committed.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from mgmt.store.database import Database, take_turn
from mgmt.store.tables import Base

SCRIPTS = Path(__file__).parent / "migrations"


def upgrade(database: Database) -> None:
    """Run all revisions the database has not seen, in one transaction."""
    with database.engine.begin() as connection:
        take_turn(connection)  # of servers that start together, one makes the tables
        command.upgrade(_config(connection), "head")


def differences(database: Database) -> list[Any]:
    """What the code's tables have that the database lacks, and the reverse; empty when they are equal."""
    with database.engine.connect() as connection:
        return list(compare_metadata(MigrationContext.configure(connection), Base.metadata))


def write_revision(message: str) -> None:
    """Write the revision that leads from the newest one to the tables in the code."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/migrate.db")
        upgrade(database)
        with database.engine.begin() as connection:
            number = f"{len(list((SCRIPTS / 'versions').glob('*.py'))) + 1:04}"
            command.revision(_config(connection), message, autogenerate=True, rev_id=number)
        database.close()


def _config(connection: Any) -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.attributes["connection"] = connection
    return config


if __name__ == "__main__":
    write_revision(" ".join(sys.argv[1:]))
