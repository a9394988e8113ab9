"""Make the kernel so: links, kernel settings, addresses, routes, then tell the neighbours."""

import time
from ipaddress import IPv4Interface
from pathlib import Path

from systemvm.engine.errors import ApplyFailed
from systemvm.engine.service import Doors, Rendering
from systemvm.services.interfaces.arp import announce
from systemvm.services.interfaces.kernel import Kernel, opened
from systemvm.services.interfaces.model import Seen, Wanted
from systemvm.services.interfaces.plan import (
    PutAddress,
    Step,
    find_links,
    plan_addresses,
    plan_links,
    plan_routes,
)

#: Seconds that a NIC may take from being plugged by the host to being seen here.
PLUG_SECONDS = 5.0
_POLL = 0.1


def apply(new: Rendering, old: Rendering, doors: Doors) -> None:
    """Steps from a fresh snapshot; what was there before (`old`) is read from the kernel itself.

    Raises ApplyFailed when a NIC is not plugged, or with the step that the kernel refused.
    """
    wanted: Wanted = new.kernel or Wanted()
    with opened() as kernel:
        for step in plan_links(wanted, _wait_for_links(wanted, kernel)):
            kernel.execute(step)
        set_sysctls(doors.root, wanted.sysctls)
        added = plan_addresses(wanted, kernel.read())
        for step in added:
            kernel.execute(step)
        # Read again: routes go with the links and addresses that they need.
        for step in plan_routes(wanted, kernel.read()):
            kernel.execute(step)
        _announce_new(added, kernel.read())


def _wait_for_links(wanted: Wanted, kernel: Kernel) -> Seen:
    deadline = time.monotonic() + PLUG_SECONDS
    while True:
        seen = kernel.read()
        try:
            find_links(wanted, seen)
        except ApplyFailed:
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL)
        else:
            return seen


def set_sysctls(root: Path, sysctls: tuple[tuple[str, str], ...]) -> None:
    """Write values below `root`/proc/sys that differ. IPv6 ones may be absent: a kernel without IPv6."""
    for name, value in sysctls:
        path = root / "proc/sys" / name
        if name.startswith("net/ipv6/") and not path.exists():
            continue
        if path.read_text().strip() != value:
            path.write_text(value)


def _announce_new(steps: list[Step], seen: Seen) -> None:
    links = {link.index: link for link in seen.links}
    fresh: dict[int, list[str]] = {}
    for step in steps:
        if isinstance(step, PutAddress) and step.present:
            fresh.setdefault(step.index, []).append(step.cidr)
    for index, cidrs in fresh.items():
        link = links[index]
        announce(link.name, link.mac, [IPv4Interface(cidr).ip for cidr in cidrs])
