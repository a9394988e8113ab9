"""Reload without a dropped connection, and wait until the new configuration is the one that serves."""

import contextlib
import time
from pathlib import Path

from systemvm.engine.errors import ApplyFailed
from systemvm.engine.files import write_atomic
from systemvm.engine.service import Doors, Rendering
from systemvm.services.haproxy import stats
from systemvm.services.haproxy.render import DAEMON, SERVER_STATE, SOCKET

#: Seconds until a new worker must serve; 1000 balancers take well under one.
DEADLINE = 10.0
_POLL = 0.05


def apply(new: Rendering, old: Rendering, doors: Doors) -> None:
    """See systemvm.engine.service. Raises ApplyFailed, with haproxy's words, if the old worker stays."""
    if not new.daemons:
        return
    _keep_server_states(doors)
    doors.daemons.reload(DAEMON)
    _await(_digest_of(new), doors)


def _keep_server_states(doors: Doors) -> None:
    """So that the next worker does not take members that are down for up, until its own checks tell."""
    states = b""
    # Not running yet, or dead: there is nothing to keep.
    with contextlib.suppress(OSError):
        states = stats.ask(doors.run_dir / SOCKET, "show servers state").encode()
    write_atomic(doors.run_dir / SERVER_STATE, states)


def _await(digest: str, doors: Doors) -> None:
    """A reload is a signal: whether the new worker came up is only seen in who answers the socket."""
    deadline = time.monotonic() + DEADLINE
    while _running(doors.run_dir / SOCKET) != digest:
        if time.monotonic() > deadline:
            said = "; ".join(doors.daemons.logs(DAEMON.name, 10)) or "nothing"
            raise ApplyFailed(f"haproxy does not serve its new configuration {DEADLINE:.0f} s later: {said}")
        time.sleep(_POLL)


def _running(socket: Path) -> str:
    try:
        return stats.running_digest(socket)
    except OSError:
        return ""


def _digest_of(rendering: Rendering) -> str:
    for line in rendering.files[0].text.splitlines():
        word, _, value = line.strip().partition(" ")
        if word == "description":
            return value
    raise ApplyFailed("the rendered haproxy.cfg has no description: its template lost the line")
