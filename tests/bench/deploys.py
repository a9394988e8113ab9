"""Deploys on a simulated cloud: sustained over many networks, then a thousand at once on one.

The baseline is what the same database does on the same disk when nobody asks more of it: one row, one commit.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from mgmt.sim.cloud import VM_OFFERING
from mgmt.store.database import Database
from mgmt.store.defaults import ISOLATED_OFFERING
from tests.bench.caller import Caller
from tests.bench.measurement import Finding, Measurement, seconds_of

SUSTAINED, NETWORKS, BURST, CLIENTS = 400, 10, 1000, 8
DEPLOYS_PER_SECOND = 20
COMMITS = 200
#: Seconds until a bench gives up: what is not running by then counts as failed.
DEADLINE = 600.0
POLL = 1.0


@dataclass(frozen=True)
class Promise:
    """Seconds until all should run; `commit` is what one bare commit takes."""

    seconds: float
    commit: float


def measure(caller: Caller, name: str, commit: float, cpu: Callable[[], float]) -> Iterator[Finding]:
    """Both, on the cloud of `caller`, whose database is called `name` and takes `commit` seconds for one.

    `cpu` gives the seconds of processor that the server has used: they tell more where others work too.
    """
    for what, count, networks, goal in (
        (f"{SUSTAINED} deploys on {NETWORKS} networks", SUSTAINED, NETWORKS, SUSTAINED / DEPLOYS_PER_SECOND),
        # What is promised of a burst is that all of it runs.
        (f"burst of {BURST} deploys on one network", BURST, 1, DEADLINE),
    ):
        yield _measure(caller, f"{name}: {what}", count, networks, Promise(goal, commit), cpu)


def commit_seconds(url: str) -> float:
    """What a bare commit takes in a database, with the settings of the management server's."""
    database = Database(url)
    with database.writing() as session:
        session.execute(text("CREATE TABLE IF NOT EXISTS bench (number integer)"))

    def commits() -> None:
        for number in range(COMMITS):
            with database.writing() as session:
                session.execute(text("INSERT INTO bench VALUES (:number)"), {"number": number})

    seconds = seconds_of(commits)
    with database.writing() as session:
        session.execute(text("DROP TABLE bench"))
    database.close()
    return seconds / COMMITS


def _measure(
    caller: Caller, what: str, count: int, networks: int, promise: Promise, cpu: Callable[[], float]
) -> Measurement:
    places = _places(caller, networks)
    begun, used = time.monotonic(), cpu()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(lambda number: _deploy(caller, places, number), range(count)))
    asked = time.monotonic() - begun
    running = _wait(caller, places["networks"], count, begun)
    seconds = time.monotonic() - begun
    return Measurement(
        name=what,
        seconds=seconds,
        baseline="as many bare commits",
        baseline_seconds=promise.commit * count,
        goal=promise.seconds / (promise.commit * count) if running == count else 0.0,
        note=f"{running} Running, {count - running} not, promised all within {promise.seconds:.0f} s;"
        f" {running / seconds:.1f}/s; asked for within {asked:.1f} s;"
        f" {(cpu() - used) / count * 1000:.0f} ms of the server's CPU each",
    )


def _places(caller: Caller, networks: int) -> dict[str, Any]:
    """What a deploy names: fresh networks, a template, an offering."""
    zone = caller.send("listZones")["zone"][0]["id"]
    offering = caller.send("listNetworkOfferings", name=ISOLATED_OFFERING)["networkoffering"][0]["id"]
    wanted = {
        "zoneid": zone,
        "networkofferingid": offering,
        "gateway": "10.2.0.1",
        "netmask": "255.255.240.0",
    }
    made = [
        caller.send("createNetwork", name=f"bench{number}", displaytext="bench", **wanted)["network"]["id"]
        for number in range(networks)
    ]
    templates = caller.send("listTemplates", templatefilter="all")["template"]
    vm_offering = caller.send("listServiceOfferings", name=VM_OFFERING)["serviceoffering"][0]["id"]
    return {
        "networks": made,
        "more": {"zoneid": zone, "templateid": templates[0]["id"], "serviceofferingid": vm_offering},
    }


def _deploy(caller: Caller, places: dict[str, Any], number: int) -> None:
    networks = places["networks"]
    network = networks[number % len(networks)]
    caller.send("deployVirtualMachine", name=f"bench{number}", networkids=network, **places["more"])


def _wait(caller: Caller, networks: list[str], count: int, begun: float) -> int:
    """How many run once all have ended, well or not. It asks about one network after the other, because
    the server answers that with the processor that is measured."""
    total = 0
    for first, network in enumerate(networks):
        wanted = len(range(first, count, len(networks)))
        running = _count(caller, network, "Running")
        while running < wanted and time.monotonic() - begun <= DEADLINE:
            if running + _count(caller, network, "Error") >= wanted:
                break
            time.sleep(POLL)
            running = _count(caller, network, "Running")
        total += running
    return total


def _count(caller: Caller, network: str, state: str) -> int:
    body = caller.send("listVirtualMachines", networkid=network, state=state, page=1, pagesize=1)
    return int(body.get("count", 0))
