"""Copies of databases, made while a server works on them, and put back whole."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from psycopg.conninfo import make_conninfo
from sqlalchemy import create_engine, inspect, make_url, text

from appliance.backup.manifest import BackupRefused
from mgmt.runtime import records_url
from mgmt.store.database import BUSY_SECONDS
from systemvm.engine.command import run
from systemvm.engine.errors import CommandError

DUMP = "dump"
#: Seconds for a database of any size that a management server can have.
LONGEST = 3600.0
#: How long a restore waits for somebody who still looks at the old tables.
LOCK_SECONDS = 30
_WORK_SCHEMA = "dbos"


def sqlite_files(url: str) -> tuple[Path, Path]:
    """The store and the workflow engine's records."""
    store, records = (Path(str(make_url(each).database)) for each in (url, records_url(url)))
    return store, records


def copy_sqlite(url: str, folder: Path) -> None:
    """Copy store and records as a crash at one moment would leave them.

    Nobody writes to the store meanwhile, so each step that the copied records know has done its work in the
    copied store; a step that is under way is one that was cut.
    """
    store, records = sqlite_files(url)
    if not store.exists():
        raise BackupRefused(f"there is no database {store}")
    with closing(sqlite3.connect(store, timeout=BUSY_SECONDS, isolation_level=None)) as lock:
        lock.execute("BEGIN IMMEDIATE")
        for source in (store, records):
            if source.exists():
                _copy(source, folder / source.name)
        lock.execute("ROLLBACK")
    for path in (store, records):
        _give_to_owner(path)


def dump_postgres(url: str, folder: Path, scratch: Path) -> None:
    """Dump store and records, which share a database, from one snapshot. Raises BackupRefused."""
    where = _connection(url, scratch)
    _run(
        "pg_dump", f"--dbname={where}", "--format=custom", "--no-owner", "--no-acl", f"--file={folder / DUMP}"
    )


def restore_postgres(url: str, dump: Path, scratch: Path) -> None:
    """Replace all tables by those of a dump, all or none. Raises BackupRefused.

    A dump has no statistics, without which PostgreSQL chooses bad plans for the first minutes.
    """
    where = _connection(url, scratch)
    script = scratch / "restore.sql"
    _run("pg_restore", "--no-owner", "--no-acl", f"--file={script}", str(dump))
    drops = [f"SET lock_timeout = '{LOCK_SECONDS}s'", f'DROP SCHEMA IF EXISTS "{_WORK_SCHEMA}" CASCADE']
    drops += [f'DROP TABLE "{name}" CASCADE' for name in tables_of(url)]
    commands = [f"--command={statement}" for statement in drops]
    settings = (
        "--no-psqlrc",
        "--quiet",
        "--single-transaction",
        "--set=ON_ERROR_STOP=1",
        "--output=/dev/null",
    )
    _run("psql", f"--dbname={where}", *settings, *commands, f"--file={script}", "--command=ANALYZE")


def tables_of(url: str) -> list[str]:
    """The tables that a database has. Raises BackupRefused if it does not answer."""
    engine = create_engine(url)
    try:
        return inspect(engine).get_table_names()
    except Exception as error:
        shown = make_url(url).render_as_string(hide_password=True)
        raise BackupRefused(f"database {shown} does not answer: {error}") from None
    finally:
        engine.dispose()


def servers_on(url: str) -> int:
    """How many connections management servers have to a PostgreSQL database."""
    engine = create_engine(url)
    query = (
        "select count(*) from pg_stat_activity"
        " where datname = current_database() and application_name like :name"
    )
    try:
        with engine.connect() as connection:
            return int(connection.scalar(text(query), {"name": "pileus %"}) or 0)
    finally:
        engine.dispose()


def _copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)
        new.execute("PRAGMA journal_mode=DELETE")
    target.chmod(0o600)


def _give_to_owner(path: Path) -> None:
    """What SQLite left beside a database belongs to its owner, also if it was root who looked."""
    for suffix in ("-wal", "-shm"):
        beside = path.with_name(path.name + suffix)
        if os.geteuid() == 0 and beside.exists():
            shutil.chown(beside, path.stat().st_uid, path.stat().st_gid)


def _connection(url: str, scratch: Path) -> str:
    """What libpq's tools take; a password goes into a file, because everybody sees arguments."""
    parts = make_url(url)
    settings = {key: value if isinstance(value, str) else value[0] for key, value in parts.query.items()}
    given = {"host": parts.host, "port": parts.port, "user": parts.username, "dbname": parts.database}
    settings |= {key: str(value) for key, value in given.items() if value is not None}
    if parts.password is not None:
        file = scratch / "pgpass"
        file.touch(mode=0o600)
        secret = str(parts.password).replace("\\", "\\\\").replace(":", "\\:")
        file.write_text(f"*:*:*:*:{secret}\n")
        settings["passfile"] = str(file)
    return make_conninfo("", **settings)


def _run(*argv: str) -> None:
    try:
        run(argv, timeout=LONGEST)
    except CommandError as error:
        hint = "; apt-get install postgresql-client" if error.returncode == 127 else ""
        raise BackupRefused(f"{error}{hint}") from None
