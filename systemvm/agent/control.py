"""Can mgmt still reach this agent? Asked after each apply; if not, the document is undone."""

import socket
from collections.abc import Callable
from pathlib import Path

from systemvm.engine.errors import CommandError
from systemvm.engine.service import Doors
from systemvm.spec.bootstrap import CONTROL_LINK, Bootstrap
from systemvm.spec.types import ProbeResult

#: Seconds to connect to ourselves.
_TIMEOUT = 2.0


def control_probe(bootstrap: Bootstrap, doors: Doors) -> Callable[[], ProbeResult]:
    """A probe of the control channel: the NIC is up, has its address, and the port answers on it."""

    def probe() -> ProbeResult:
        words = _trouble(bootstrap, doors)
        message = words or f"listens on {bootstrap.linklocal_address}, port {bootstrap.agent_port}"
        return ProbeResult(service="agent", name="control", healthy=not words, message=message)

    return probe


def _trouble(bootstrap: Bootstrap, doors: Doors) -> str:
    if not _is_up(CONTROL_LINK, doors.root):
        return f"{CONTROL_LINK} is down or gone"
    try:
        listed = doors.run(("ip", "-oneline", "-4", "address", "show", "dev", CONTROL_LINK)).stdout
    except CommandError as error:
        return str(error)
    if f" {bootstrap.linklocal_address} " not in listed:
        return f"{CONTROL_LINK} lost its address {bootstrap.linklocal_address}"
    address = bootstrap.linklocal_address.partition("/")[0]
    try:
        socket.create_connection((address, bootstrap.agent_port), timeout=_TIMEOUT).close()
    except OSError as error:
        return f"the agent does not answer on {address}:{bootstrap.agent_port}: {error}"
    return ""


def _is_up(name: str, root: Path) -> bool:
    try:
        flags = int((root / "sys/class/net" / name / "flags").read_text(), 16)
    except OSError:
        return False
    return bool(flags & 1)  # IFF_UP, linux/if.h
