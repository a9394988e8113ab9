"""Migrations: bring a database to the newest tables, or write the next revision.

`python -m mgmt.store.migrate "what changes"` compares the tables in the code with those the revisions make
and writes a new revision for the difference; have it formatted, and read it, before it is committed.
"""

import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

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


def revision_of(database: Database) -> str:
    """The newest revision that a database has seen; empty if it has seen none."""
    with database.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision() or ""


def newest() -> str:
    """The newest revision there is."""
    return str(ScriptDirectory(str(SCRIPTS)).get_current_head())


def knows(revision: str) -> bool:
    """Whether a revision leads to the newest one."""
    return revision in {script.revision for script in ScriptDirectory(str(SCRIPTS)).walk_revisions()}


def fingerprint() -> str:
    """A digest of the tables in the code: two of one revision differ while that is under development."""
    columns = sorted(
        f"{table.name}.{column.name} {column.type!r} {column.nullable}"
        for table in Base.metadata.sorted_tables
        for column in table.columns
    )
    return sha256("\n".join(columns).encode()).hexdigest()


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
