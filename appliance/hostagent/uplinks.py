"""Which interfaces of the machine guests may leave by."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pyroute2 import IPRoute

#: IFLA_IFALIAS of every link that we made.
MARK = "pileus"
_IFF_LOOPBACK = 0x8  # linux/if.h
# dev_valid_name() of the kernel, without what nobody uses, and what nft would take for a pattern or a quote.
_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,15}")


@dataclass(frozen=True)
class Link:
    """A network interface; `mark` is its alias, which says whether it is ours; `bridge` whose port it is."""

    name: str
    mark: str
    is_up: bool
    is_loopback: bool = False
    bridge: str = ""


def is_link_name(name: str) -> bool:
    """Whether an interface may have this name."""
    return _NAME.fullmatch(name) is not None


def read_links() -> list[Link]:
    """All network interfaces."""
    with IPRoute() as netlink:
        links = list(netlink.get_links())
    names = {link["index"]: link.get("ifname") for link in links}
    return [
        Link(
            name=link.get("ifname"),
            mark=link.get("ifalias") or "",
            is_up=link.get("operstate") != "DOWN",
            is_loopback=bool(link["flags"] & _IFF_LOOPBACK),
            bridge=names.get(link.get("master") or 0, ""),
        )
        for link in links
    ]


def uplink_problem(name: str, links: Iterable[Link]) -> tuple[str, str] | None:
    """What speaks against this interface as the way out, and what to do; None if nothing does."""
    present = {link.name: link for link in links}
    if not is_link_name(name):
        cause = f"{name!r} is no name of a network interface"
    elif name not in present:
        cause = f"there is no network interface {name!r} on this machine"
    elif reason := _refusal(present[name]):
        cause = f"{name!r} {reason}"
    else:
        return None
    usable = ", ".join(link.name for link in present.values() if not _refusal(link)) or "none is there"
    return cause, f"choose one of: {usable}"


def _refusal(link: Link) -> str:
    if link.is_loopback:
        return "is the loopback interface and leads nowhere"
    if link.mark == MARK:
        # Guests would be let into the management network, or into each other's.
        return "is one of Pileus's own interfaces"
    return f"is a port of {link.bridge} and has no addresses of its own" if link.bridge else ""
