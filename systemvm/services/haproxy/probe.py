"""Does haproxy serve this document, and does every balancer take a connection?"""

import selectors
import socket
import time
from collections.abc import Iterator

from systemvm.engine.service import Doors
from systemvm.services.haproxy import stats
from systemvm.services.haproxy.render import SOCKET, digest, served
from systemvm.spec.network import Balancer
from systemvm.spec.state import State
from systemvm.spec.types import ProbeResult

#: Seconds for all connections together.
CONNECT_DEADLINE = 5.0
#: Connections at a time, well under the default limit of 1024 open files.
_BATCH = 256


def probe(state: State, doors: Doors) -> list[ProbeResult]:
    """See systemvm.engine.service.

    Members that are down are reported, but they are their owner's business: the balancer is healthy.
    """
    balancers = served(state)
    if not balancers:
        return []
    return [_probe_worker(state, doors), _probe_members(doors), *_probe_connects(state, balancers)]


def _probe_worker(state: State, doors: Doors) -> ProbeResult:
    wanted = digest(state)
    try:
        running = stats.running_digest(doors.run_dir / SOCKET)
    except OSError as error:
        return _result("worker", False, f"haproxy does not answer on its socket: {error}")
    if running != wanted:
        return _result("worker", False, f"haproxy serves configuration {running or 'unknown'}, not {wanted}")
    return _result("worker", True, f"haproxy serves configuration {wanted}")


def _probe_members(doors: Doors) -> ProbeResult:
    try:
        members = [row for row in stats.rows(doors.run_dir / SOCKET) if row["svname"] != "BACKEND"]
    except OSError as error:
        return _result("members", False, f"haproxy does not answer on its socket: {error}")
    down = [f"{row['pxname']}/{row['svname']}" for row in members if row["status"].startswith("DOWN")]
    if not down:
        return _result("members", True, f"all {len(members)} members are up")
    listed = ", ".join(down[:5]) + (", …" if len(down) > 5 else "")
    return _result("members", True, f"{len(down)} of {len(members)} members are down: {listed}")


def _probe_connects(state: State, balancers: tuple[Balancer, ...]) -> Iterator[ProbeResult]:
    here = {cidr.partition("/")[0] for nic in state.interfaces.nics for cidr in nic.addresses}
    # A virtual address may be on the other router: only keepalived knows, and its own probe tells.
    own = [balancer for balancer in balancers if balancer.address in here]
    deadline = time.monotonic() + CONNECT_DEADLINE
    failed: list[str] = []
    for start in range(0, len(own), _BATCH):
        failed += _connect(own[start : start + _BATCH], deadline)
    if failed:
        yield _result("connect", False, f"{len(failed)} balancers refuse: {', '.join(failed[:5])}")
    elif own:
        yield _result("connect", True, f"{len(own)} balancers take connections")


def _connect(balancers: list[Balancer], deadline: float) -> list[str]:
    """Connect to all at once; the places that did not answer."""
    waiting: dict[str, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        for balancer in balancers:
            connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            connection.setblocking(False)
            place = f"{balancer.address}:{balancer.port}"
            waiting[place] = connection
            connection.connect_ex((balancer.address, balancer.port))
            selector.register(connection, selectors.EVENT_WRITE, place)
        failed: list[str] = []
        while waiting and (events := selector.select(max(0.0, deadline - time.monotonic()))):
            for key, _ in events:
                connection = waiting.pop(key.data)
                if error := connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    failed.append(f"{key.data} (errno {error})")
                selector.unregister(connection)
                connection.close()
    for connection in waiting.values():
        connection.close()
    return failed + [f"{place} (no answer)" for place in waiting]


def _result(name: str, healthy: bool, message: str) -> ProbeResult:
    return ProbeResult(service="haproxy", name=name, healthy=healthy, message=message)
