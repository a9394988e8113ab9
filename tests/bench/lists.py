"""Lists at size: every list command on 25,000 hosts, VMs, networks and accounts, beside a bare Flask page.

The slowest one in a hundred calls (p99) of all commands' first and last pages, the slowest page of 500,
signed requests a second from several clients, and the memory of the server's process. Goals are those of
the promise, in seconds (requests: seconds for a thousand).
"""

import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx
import msgspec

from images.builder.boot import free_port
from mgmt.api.app import load_commands
from mgmt.api.lists import Listing
from mgmt.api.registry import REGISTRY, Registered
from mgmt.api.testing import sign
from tests.bench.measurement import Finding, Measurement, Missing, seconds_of
from tests.bench.size_server import KEYS_FILE

#: Seconds for the server to make its cloud.
START = 600.0
ROUNDS, PAGE, LONG_PAGE = 10, 20, 500
CLIENTS, REQUESTS = 4, 1000
P99_SECONDS, LONG_SECONDS, REQUESTS_SECONDS, MEMORY_MB = 0.3, 1.0, REQUESTS / 200, 500
MIXED = ("listVirtualMachines", "listNetworks", "listVolumes", "listZones", "listServiceOfferings")
BASELINE = "bare Flask page, same server"


@dataclass(frozen=True)
class Caller:
    """Somebody's signed calls over one connection."""

    http: httpx.Client
    key: str
    secret: str

    def send(self, command: str, **parameters: object) -> dict[str, Any]:
        """The body of an answer; empty for a call that is refused, as for ids that must be named."""
        sent = {name: str(value) for name, value in parameters.items()}
        sent |= {"command": command, "response": "json", "apiKey": self.key}
        sent["signature"] = sign(sent, self.secret)
        answer = self.http.post("/client/api", data=sent)
        body: dict[str, Any] = next(iter(answer.json().values()))
        return body if answer.is_success else {}


def measure() -> Iterator[Finding]:
    """Lists, pages, requests, memory."""
    with tempfile.TemporaryDirectory(prefix="pileus-bench-") as name:
        folder, port = Path(name), free_port()
        argv = [sys.executable, "-m", "tests.bench.size_server", str(folder), str(port)]
        with (folder / "log").open("wb") as log, subprocess.Popen(argv, stdout=log, stderr=log) as server:
            try:
                with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=120) as http:
                    if not _wait(http, server):
                        words = (folder / "log").read_text(errors="replace")[-400:]
                        yield Missing(name="size: lists", why=f"the server did not come up: {words}")
                        return
                    keys = msgspec.json.decode((folder / KEYS_FILE).read_bytes())
                    yield from _measure(http, keys, server.pid)
            finally:
                server.terminate()


def _measure(http: httpx.Client, keys: dict[str, dict[str, str]], pid: int) -> Iterator[Finding]:
    def hello() -> None:
        http.get("/bare/hello").raise_for_status()

    bare = median(seconds_of(hello) for _ in range(100))
    callers = {name: Caller(http, own["key"], own["secret"]) for name, own in keys.items()}
    for who, caller in callers.items():
        yield from _lists(who, caller, bare)
    yield _requests(list(callers.values())[-1], bare)
    megabytes = _memory(pid)
    yield Measurement(
        name="size: memory of the server, MB, afterwards",
        seconds=megabytes,
        baseline="promised, MB",
        baseline_seconds=MEMORY_MB,
        goal=1.0,
        note="resident memory of the worker, not seconds",
    )


def _lists(who: str, caller: Caller, bare: float) -> Iterator[Finding]:
    """For one kind of caller: the p99 over all commands, the slowest commands, the slowest long page."""
    times: list[tuple[float, str]] = []
    long: list[tuple[float, str]] = []
    for registered in _listings():
        more = _parameters(registered, who)
        body = caller.send(registered.name, page=1, pagesize=PAGE, **more)
        if not body:
            continue
        last = max(1, math.ceil(body["count"] / PAGE))
        for page in sorted({1, last}):
            times += [
                (seconds_of(_call(caller, registered, page, PAGE, more)), f"{registered.name} page {page}")
                for _ in range(ROUNDS)
            ]
        if body["count"] > PAGE:
            call = _call(caller, registered, 1, LONG_PAGE, more)
            long.append((median(seconds_of(call) for _ in range(3)), registered.name))
    seconds, slowest = [spent for spent, _ in times], max(times)
    for what, found, goal, note in (
        ("p99", quantiles(seconds, n=100)[98], P99_SECONDS, f"slowest: {slowest[1]}, {slowest[0]:.3f} s"),
        ("median", median(seconds), P99_SECONDS, f"{len(times)} calls"),
        ("slowest page of 500", *_longest(long)),
    ):
        yield Measurement(
            name=f"size: lists as {who}, {what}",
            seconds=found,
            baseline=BASELINE,
            baseline_seconds=bare,
            goal=goal / bare,
            note=f"{note}; promised {goal:g} s",
        )


def _longest(long: list[tuple[float, str]]) -> tuple[float, float, str]:
    seconds, name = max(long)
    return seconds, LONG_SECONDS, name


def _requests(caller: Caller, bare: float) -> Measurement:
    """Mixed signed requests from several clients at once."""

    def some(number: int) -> None:
        for count in range(REQUESTS // CLIENTS):
            caller.send(MIXED[(number + count) % len(MIXED)], page=1, pagesize=PAGE)

    def all_of_them() -> None:
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(some, range(CLIENTS)))

    seconds = seconds_of(all_of_them)
    return Measurement(
        name=f"size: {REQUESTS} signed requests, {CLIENTS} clients",
        seconds=seconds,
        baseline=f"{BASELINE}, as often, one client",
        baseline_seconds=bare * REQUESTS,
        goal=REQUESTS_SECONDS / (bare * REQUESTS),
        note=f"{REQUESTS / seconds:.0f} requests/s; promised {REQUESTS / REQUESTS_SECONDS:.0f}",
    )


def _listings() -> list[Registered]:
    load_commands()
    return [item for item in REGISTRY.all() if issubclass(item.command, Listing)]


def _parameters(registered: Registered, who: str) -> dict[str, str]:
    names = {parameter.name for parameter in registered.parameters}
    choice = "all" if who == "admin" else "executable"
    chosen = {"listall": "true", "templatefilter": choice, "isofilter": choice}
    return {name: value for name, value in chosen.items() if name in names}


def _call(
    caller: Caller, registered: Registered, page: int, size: int, more: dict[str, str]
) -> Callable[[], object]:
    return lambda: caller.send(registered.name, page=page, pagesize=size, **more)


def _memory(pid: int) -> float:
    """Resident memory, MB, of the worker that a gunicorn has (its only child)."""
    child = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    pages = int(Path(f"/proc/{child}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _wait(http: httpx.Client, server: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline and server.poll() is None:
        try:
            return http.get("/bare/hello").is_success
        except httpx.TransportError:
            time.sleep(0.5)
    return False
