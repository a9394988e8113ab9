"""`GET /v1/<role>/vrrp`: the state of every instance."""

from typing import Any

import msgspec

from systemvm.engine.service import Doors
from systemvm.services.keepalived.render import SECTION
from systemvm.services.keepalived.vrrp import read_status
from systemvm.spec import codec
from systemvm.spec.network import Keepalived


def read_vrrp(doors: Doors) -> list[dict[str, Any]]:
    """Name, interface, state and held addresses of each instance; empty if keepalived is off."""
    try:
        section = codec.decode((doors.root / SECTION.lstrip("/")).read_bytes(), Keepalived)
    except FileNotFoundError:
        return []
    return [msgspec.to_builtins(read_status(instance)) for instance in section.instances]


READS = {"vrrp": read_vrrp}
