"""The kernel's links, addresses and routes over netlink (rtnetlink(7)), through pyroute2."""

import contextlib
import errno
import socket
from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv4Network
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from systemvm.engine.errors import ApplyFailed
from systemvm.services.interfaces.model import OWNER, AddressSeen, LinkSeen, RouteSeen, Seen
from systemvm.services.interfaces.plan import PutAddress, PutRoute, Rename, SetMtu, SetUp, Step

_MAIN_TABLE = 254
_IFF_UP = 1
_UNICAST = 1


class Kernel:
    """Reads one snapshot at a time; executes steps. Use through `opened()`."""

    def __init__(self, netlink: Any) -> None:
        self._netlink = netlink

    def read(self) -> Seen:
        """What there is now."""
        return Seen(
            links=tuple(_link(message) for message in self._netlink.get_links()),
            addresses=tuple(_address(message) for message in self._netlink.get_addr(family=socket.AF_INET)),
            routes=tuple(
                _route(message)
                for message in self._netlink.get_routes(family=socket.AF_INET, table=_MAIN_TABLE)
                if message["type"] == _UNICAST and message.get("oif")
            ),
        )

    def execute(self, step: Step) -> None:
        """Take one step. Raises ApplyFailed with the step and the kernel's words."""
        try:
            self._execute(step)
        except NetlinkError as error:
            # The kernel took it away itself, for example a route whose address has just gone.
            if _is_removal(step) and error.code in (errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENODEV):
                return
            raise ApplyFailed(f"{step}: {error}") from error

    def _execute(self, step: Step) -> None:
        match step:
            case SetUp(index, up):
                self._netlink.link("set", index=index, state="up" if up else "down")
            case Rename(index, name):
                self._netlink.link("set", index=index, ifname=name)
            case SetMtu(index, mtu):
                self._netlink.link("set", index=index, mtu=mtu)
            case PutAddress(index, cidr, present):
                self._put_address(index, IPv4Interface(cidr), present)
            case PutRoute(index, destination, gateway, present):
                verb = "replace" if present else "del"
                self._netlink.route(verb, dst=destination, gateway=gateway, oif=index, proto=OWNER)

    def _put_address(self, index: int, address: IPv4Interface, present: bool) -> None:
        marks: dict[str, Any] = {}
        if present:
            marks["proto"] = OWNER
            if address.network.prefixlen < 31:
                marks["broadcast"] = str(address.network.broadcast_address)
        verb = "add" if present else "del"
        self._netlink.addr(
            verb, index=index, address=str(address.ip), prefixlen=address.network.prefixlen, **marks
        )


@contextlib.contextmanager
def opened() -> Iterator[Kernel]:
    """A kernel to talk to, in this thread's network namespace."""
    with IPRoute() as netlink:
        yield Kernel(netlink)


def _is_removal(step: Step) -> bool:
    return isinstance(step, PutAddress | PutRoute) and not step.present


def _link(message: Any) -> LinkSeen:
    info = message.get("linkinfo")
    return LinkSeen(
        index=message["index"],
        name=message.get("ifname"),
        mac=message.get("address") or "",
        mtu=message.get("mtu") or 0,
        is_up=bool(message["flags"] & _IFF_UP),
        kind=(info.get("kind") if info else None) or "",
    )


def _address(message: Any) -> AddressSeen:
    # IFA_LOCAL is the address itself; IFA_ADDRESS is the other end on point-to-point links.
    local = message.get("local") or message.get("address")
    return AddressSeen(
        index=message["index"],
        cidr=f"{local}/{message['prefixlen']}",
        is_ours=message.get("proto") == OWNER,
    )


def _route(message: Any) -> RouteSeen:
    destination = IPv4Network((message.get("dst") or 0, message["dst_len"]))
    return RouteSeen(
        index=message.get("oif"),
        destination=str(destination),
        gateway=message.get("gateway") or "",
        is_ours=message["proto"] == OWNER,
    )
