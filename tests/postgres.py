"""A PostgreSQL server of the machine's own package, for as long as a test needs it: Unix socket only."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import NullPool, create_engine, make_url

BINARIES = Path("/usr/lib/postgresql")
USER = "postgres"
SETTINGS = "-c listen_addresses='' -c max_connections=200"


@contextmanager
def postgres(*, is_durable: bool = False) -> Iterator[str]:
    """The URL of an empty database, which flushes nothing to the disk unless it is to be durable.

    Skips where the package is not installed.
    """
    found = sorted(BINARIES.glob("*/bin/initdb"))
    if not found:
        pytest.skip("PostgreSQL's server is not installed: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    if os.geteuid() == 0:  # the server refuses to run as root
        shutil.chown(folder, USER)

    def run(tool: str, *arguments: str) -> None:
        switch = ["runuser", "-u", USER, "--"] if os.geteuid() == 0 else []
        command = [*switch, str(found[-1].with_name(tool)), *arguments]
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, timeout=60)

    data, settings = str(folder / "data"), f"{SETTINGS} -c fsync={'on' if is_durable else 'off'} -k {folder}"
    try:
        run("initdb", "-D", data, "-U", USER, "-A", "trust", "--no-sync")
        run("pg_ctl", "-D", data, "-l", str(folder / "log"), "-o", settings, "-w", "start")
        try:
            yield f"postgresql+psycopg://{USER}@/{USER}?host={folder}"
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Clones:
    """Databases of one server, copied from others of it: faster than making tables anew."""

    url: str
    made: list[str] = field(default_factory=list)

    def new(self, like: str = "template0") -> str:
        """The URL of a copy of the database `like`, to which nobody may be connected."""
        name = f"clone{uuid4().hex}"
        self._run(f'CREATE DATABASE "{name}" TEMPLATE "{like}" STRATEGY wal_log')
        self.made.append(name)
        return make_url(self.url).set(database=name).render_as_string(hide_password=False)

    def drop_after(self, count: int) -> None:
        """Drop all but the first `count` that were made, whoever is connected."""
        while len(self.made) > count:
            self._run(f'DROP DATABASE "{self.made.pop()}" WITH (FORCE)')

    def _run(self, statement: str) -> None:
        engine = create_engine(self.url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()
