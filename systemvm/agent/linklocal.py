"""The NIC of the control channel: found by MAC, named `CONTROL_LINK`, addressed, up."""

import time
from collections.abc import Callable
from pathlib import Path

from systemvm.agent.errors import BootError
from systemvm.engine.control import linklocal_nic
from systemvm.engine.service import Doors
from systemvm.spec.bootstrap import CONTROL_LINK, Bootstrap

#: Seconds to wait for the NIC.
PATIENCE = 30.0
_POLL = 0.1


def set_up_linklocal(bootstrap: Bootstrap, doors: Doors, sleep: Callable[[float], None] = time.sleep) -> None:
    """Name and address the NIC with one `ip` process; idempotent. Raises BootError, CommandError."""
    name = CONTROL_LINK
    current = _await_link(linklocal_nic(bootstrap).mac, doors, sleep)
    lines = []
    if current != name:
        if _is_taken(name, doors.root):
            # The kernel numbers NICs as it finds them: move the other away, its own service renames it.
            spare = f"was-{name}"
            lines += [f"link set dev {name} down", f"link set dev {name} name {spare}"]
        lines += [f"link set dev {current} down", f"link set dev {current} name {name}"]
    lines += [f"link set dev {name} up", f"address replace {bootstrap.linklocal_address} dev {name}"]
    doors.run(("ip", "-batch", "-"), stdin="\n".join(lines) + "\n")


def find_link(mac: str, root: Path) -> str | None:
    """Name of the link with this MAC, None if there is none."""
    for link in sorted((root / "sys/class/net").iterdir()):
        try:
            if (link / "address").read_text().strip() == mac:
                return link.name
        except OSError:
            continue  # not a link (bonding_masters), or gone in this moment
    return None


def _await_link(mac: str, doors: Doors, sleep: Callable[[float], None]) -> str:
    deadline = doors.now() + PATIENCE
    while (name := find_link(mac, doors.root)) is None:
        if doors.now() > deadline:
            raise BootError(f"no NIC has the MAC {mac} of the control channel; plug it into cloud0")
        sleep(_POLL)
    return name


def _is_taken(name: str, root: Path) -> bool:
    return (root / "sys/class/net" / name).exists()
