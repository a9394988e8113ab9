"""A PostgreSQL server of the machine's own package, for as long as a test needs it: Unix socket only."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BINARIES = Path("/usr/lib/postgresql")
USER = "postgres"
SETTINGS = "-c listen_addresses='' -c fsync=off -c max_connections=200"


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of an empty database. Skips where the package is not installed."""
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

    data = str(folder / "data")
    try:
        run("initdb", "-D", data, "-U", USER, "-A", "trust", "--no-sync")
        run("pg_ctl", "-D", data, "-l", str(folder / "log"), "-o", f"{SETTINGS} -k {folder}", "-w", "start")
        try:
            yield f"postgresql+psycopg://{USER}@/{USER}?host={folder}"
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
