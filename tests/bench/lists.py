"""Lists at size: every list command, beside a bare Flask page of the same server.

The slowest one in a hundred calls (p99) of all commands' first and last pages, the slowest page of 500, and
signed requests a second from several clients. Goals are those of the promise, in seconds (requests: seconds
for a thousand).
"""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from statistics import median, quantiles

import httpx

from mgmt.api.app import load_commands
from mgmt.api.lists import Listing
from mgmt.api.registry import REGISTRY, Registered
from tests.bench.caller import Caller
from tests.bench.measurement import Finding, Measurement, seconds_of

ROUNDS, PAGE, LONG_PAGE = 10, 20, 500
CLIENTS, REQUESTS = 4, 1000
P99_SECONDS, LONG_SECONDS, REQUESTS_SECONDS = 0.3, 1.0, REQUESTS / 200
MIXED = ("listVirtualMachines", "listNetworks", "listVolumes", "listZones", "listServiceOfferings")
BASELINE = "bare Flask page, same server"


def measure(
    http: httpx.Client, callers: dict[str, Caller], name: str, cpu: Callable[[], float]
) -> Iterator[Finding]:
    """Lists, pages and requests of the server behind `http`, whose database is called `name`.

    `cpu` gives the seconds of processor that the server has used.
    """

    def hello() -> None:
        http.get("/bare/hello").raise_for_status()

    bare = median(seconds_of(hello) for _ in range(100))
    for who, caller in callers.items():
        yield from _lists(f"{name}: lists as {who}", who, caller, bare)
    yield _requests(name, list(callers.values())[-1], bare, cpu)


def _lists(title: str, who: str, caller: Caller, bare: float) -> Iterator[Finding]:
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
            name=f"{title}, {what}",
            seconds=found,
            baseline=BASELINE,
            baseline_seconds=bare,
            goal=goal / bare,
            note=f"{note}; promised {goal:g} s",
        )


def _longest(long: list[tuple[float, str]]) -> tuple[float, float, str]:
    seconds, name = max(long)
    return seconds, LONG_SECONDS, name


def _requests(name: str, caller: Caller, bare: float, cpu: Callable[[], float]) -> Measurement:
    """Mixed signed requests from several clients at once."""

    def some(number: int) -> None:
        for count in range(REQUESTS // CLIENTS):
            caller.send(MIXED[(number + count) % len(MIXED)], page=1, pagesize=PAGE)

    def all_of_them() -> None:
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(some, range(CLIENTS)))

    used = cpu()
    seconds = seconds_of(all_of_them)
    each = (cpu() - used) / REQUESTS * 1000
    return Measurement(
        name=f"{name}: {REQUESTS} signed requests, {CLIENTS} clients",
        seconds=seconds,
        baseline=f"{BASELINE}, as often, one client",
        baseline_seconds=bare * REQUESTS,
        goal=REQUESTS_SECONDS / (bare * REQUESTS),
        note=f"{REQUESTS / seconds:.0f} requests/s; promised {REQUESTS / REQUESTS_SECONDS:.0f};"
        f" {each:.1f} ms of the server's CPU each",
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
