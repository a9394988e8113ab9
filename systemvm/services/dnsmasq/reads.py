"""What the agent can read from dnsmasq: its leases."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from systemvm.engine.service import Doors
from systemvm.engine.swap import under
from systemvm.services.dnsmasq.leases import read_leases
from systemvm.services.dnsmasq.render import LEASES


def leases(doors: Doors) -> list[dict[str, Any]]:
    """Leases as dnsmasq keeps them; an address without one was never asked for."""
    return [asdict(lease) for lease in read_leases(under(doors.root, LEASES))]


READS: dict[str, Callable[[Doors], Any]] = {"leases": leases}
