"""A management server at size: 25,000 hosts, VMs, networks and accounts, with its jobs and its loop running.

How long its cloud takes to be there, its lists, its deploys, its memory; on SQLite and on PostgreSQL.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec
import pytest

from images.builder.boot import free_port
from tests.bench import deploys, lists
from tests.bench.caller import Caller, client
from tests.bench.measurement import Finding, Measurement, Missing
from tests.bench.size_server import KEYS_FILE
from tests.postgres import postgres

#: Seconds for the server to make its cloud.
START = 900.0
MEMORY_MB = 500
#: A server that uses less than this share of a processor for so long has no more to do than it always has.
QUIET_SHARE, QUIET_SECONDS = 0.2, 4.0


def on_sqlite() -> Iterator[Finding]:
    """All of it on SQLite, on the disk of temporary files."""
    with tempfile.TemporaryDirectory(prefix="pileus-bench-") as name:
        bare = deploys.commit_seconds(f"sqlite:///{name}/bare.db")
        yield from _on("SQLite", Path(name), "", bare)


def on_postgres() -> Iterator[Finding]:
    """All of it on a PostgreSQL that flushes what it commits, on the disk of temporary files."""
    try:
        with postgres(is_durable=True) as url, tempfile.TemporaryDirectory(prefix="pileus-bench-") as name:
            bare = deploys.commit_seconds(url)
            yield from _on("PostgreSQL", Path(name), url, bare)
    except pytest.skip.Exception as missing:
        yield Missing(name="PostgreSQL: all", why=str(missing))


def _on(name: str, folder: Path, url: str, commit: float) -> Iterator[Finding]:
    port = free_port()
    with _server(folder, port, url) as server, client(port) as http:
        if not _wait(http, server):
            words = (folder / "log").read_text(errors="replace")[-400:]
            yield Missing(name=f"{name}: all", why=f"the server did not come up: {words}")
            return
        keys = msgspec.json.decode((folder / KEYS_FILE).read_bytes())
        callers = {who: Caller(http, own["key"], own["secret"]) for who, own in keys.items()}

        def cpu() -> float:
            return _cpu(server.pid)

        yield _settle(name, cpu)
        yield from lists.measure(http, callers, name, cpu)
        yield from deploys.measure(next(iter(callers.values())), name, commit, cpu)
        yield Measurement(
            name=f"{name}: memory of the server, MB, afterwards",
            seconds=_memory(server.pid),
            baseline="promised, MB",
            baseline_seconds=MEMORY_MB,
            goal=1.0,
            note="resident memory of the worker, not seconds; its simulated hosts are in it",
        )


def _settle(name: str, cpu: Callable[[], float]) -> Measurement:
    """Wait until the server has looked at everything once: that is the price of a start, not of a call."""
    begun = time.monotonic()
    while time.monotonic() - begun < START:
        used = cpu()
        time.sleep(QUIET_SECONDS)
        if cpu() - used < QUIET_SHARE * QUIET_SECONDS:
            break
    return Measurement(
        name=f"{name}: until a server that started has looked at everything",
        seconds=time.monotonic() - begun,
        baseline="as long as it must be quiet",
        baseline_seconds=QUIET_SECONDS,
        note="it answers meanwhile; everything below is measured afterwards, with its loop running",
    )


@contextmanager
def _server(folder: Path, port: int, url: str) -> Iterator[subprocess.Popen[bytes]]:
    argv = [sys.executable, "-m", "tests.bench.size_server", str(folder), str(port), url]
    with (folder / "log").open("wb") as log, subprocess.Popen(argv, stdout=log, stderr=log) as server:
        try:
            yield server
        finally:
            server.terminate()


def _worker(pid: int) -> Path:
    """What the kernel says of the worker that a gunicorn has (its only child)."""
    return Path("/proc") / Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]


def _cpu(pid: int) -> float:
    """Seconds of processor that the worker has used."""
    fields = (_worker(pid) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int) -> float:
    """Resident memory of the worker, MB."""
    pages = int((_worker(pid) / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _wait(http: httpx.Client, server: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline and server.poll() is None:
        try:
            return http.get("/bare/hello").is_success
        except httpx.TransportError:
            time.sleep(0.5)
    return False
