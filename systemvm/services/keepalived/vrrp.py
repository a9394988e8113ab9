"""Who holds the virtual addresses: read from the kernel, which is the only place where it counts."""

import errno
from enum import StrEnum

from msgspec import Struct

from systemvm.spec.network import VrrpInstance


class VrrpState(StrEnum):
    """State of this router in one instance, by its addresses and its link."""

    primary = "primary"
    backup = "backup"
    #: Some but not all addresses: keepalived is in the middle of a transition, or was killed in one.
    mixed = "mixed"
    #: The link is down or missing: this router cannot serve.
    fault = "fault"


class VrrpStatus(Struct, frozen=True, kw_only=True):
    """State of one instance."""

    name: str
    interface: str
    state: VrrpState
    held: tuple[str, ...]


def read_status(instance: VrrpInstance) -> VrrpStatus:
    """Look the addresses of an instance up over netlink."""
    # Imported late: pyroute2 is large, and a machine without redundancy never needs it here.
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    with IPRoute() as netlink:
        try:
            (link,) = netlink.link("get", ifname=instance.interface)
        except NetlinkError as error:
            if error.code != errno.ENODEV:
                raise
            return _status(instance, VrrpState.fault, ())
        rows = netlink.get_addr(index=link["index"])
    present = {row.get("local") or row.get("address") for row in rows}
    held = tuple(cidr for cidr in instance.virtual_addresses if cidr.partition("/")[0] in present)
    if link.get("operstate") == "DOWN":
        return _status(instance, VrrpState.fault, held)
    if not held:
        return _status(instance, VrrpState.backup, held)
    whole = len(held) == len(instance.virtual_addresses)
    return _status(instance, VrrpState.primary if whole else VrrpState.mixed, held)


def _status(instance: VrrpInstance, state: VrrpState, held: tuple[str, ...]) -> VrrpStatus:
    return VrrpStatus(name=instance.name, interface=instance.interface, state=state, held=held)
