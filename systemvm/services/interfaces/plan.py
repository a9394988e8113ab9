"""The steps from what the kernel is to what it should be; pure."""

from dataclasses import dataclass
from typing import TypeAlias

from systemvm.engine.errors import ApplyFailed
from systemvm.services.interfaces.model import AddressSeen, LinkSeen, Seen, Wanted
from systemvm.spec.bootstrap import CONTROL_LINK

#: Links that carry their parent's MAC; a document never means them.
_CHILDREN = ("vlan", "macvlan", "macvtap", "ipvlan", "bridge", "bond", "team", "vrf")


@dataclass(frozen=True)
class SetUp:
    """Bring a link up, or down."""

    index: int
    up: bool


@dataclass(frozen=True)
class Rename:
    """Name a link, which must be down."""

    index: int
    name: str


@dataclass(frozen=True)
class SetMtu:
    """Set a link's MTU, in bytes."""

    index: int
    mtu: int


@dataclass(frozen=True)
class PutAddress:
    """Add an address, or remove it."""

    index: int
    cidr: str
    present: bool


@dataclass(frozen=True)
class PutRoute:
    """Add or replace a route, or remove it."""

    index: int
    destination: str
    gateway: str
    present: bool


Step: TypeAlias = SetUp | Rename | SetMtu | PutAddress | PutRoute


def find_links(wanted: Wanted, seen: Seen) -> dict[str, LinkSeen]:
    """The link of each wanted NIC, by the NIC's wanted name.

    Raises ApplyFailed, naming all of them, when MACs are not plugged or are the control link's.
    """
    by_mac = {link.mac: link for link in seen.links if link.kind not in _CHILDREN}
    control = {link.mac for link in seen.links if link.name == CONTROL_LINK}
    wrong = [f"{nic.name}: no link has MAC {nic.mac}" for nic in wanted.nics if nic.mac not in by_mac]
    wrong += [f"{nic.name}: {nic.mac} is {CONTROL_LINK}'s MAC" for nic in wanted.nics if nic.mac in control]
    if wrong:
        raise ApplyFailed(f"{'; '.join(wrong)}; plug the NIC, or correct the document")
    return {nic.name: by_mac[nic.mac] for nic in wanted.nics}


def plan_links(wanted: Wanted, seen: Seen) -> list[Step]:
    """Names, MTUs, up. Renaming goes through temporary names, so that two links can swap theirs."""
    links = find_links(wanted, seen)
    moving = {name: link for name, link in links.items() if link.name != name}
    # A link that the document does not know may hold a name that it wants; it has to give way.
    stays = {link.index for link in links.values()}
    in_the_way = [link for link in seen.links if link.name in moving and link.index not in stays]
    leaving = [*moving.values(), *in_the_way]
    steps: list[Step] = [SetUp(link.index, False) for link in leaving if link.is_up]
    steps += [Rename(link.index, f"spare{link.index}") for link in leaving]
    steps += [Rename(link.index, name) for name, link in moving.items()]
    for nic in wanted.nics:
        link = links[nic.name]
        if link.mtu != nic.mtu:
            steps.append(SetMtu(link.index, nic.mtu))
        if nic.name in moving or not link.is_up:
            steps.append(SetUp(link.index, True))
    return steps


def plan_addresses(wanted: Wanted, seen: Seen) -> list[Step]:
    """Addresses of wanted NICs; ours on any other link go, and that link goes down."""
    links = find_links(wanted, seen)
    targets = {links[nic.name].index: nic.addresses for nic in wanted.nics}
    protected = {link.index for link in seen.links if link.name in (CONTROL_LINK, "lo")}
    steps: list[Step] = []
    for link in seen.links:
        present = [address for address in seen.addresses if address.index == link.index]
        if link.index in targets:
            steps += _plan_nic_addresses(link.index, targets[link.index], present)
        elif link.index not in protected and any(address.is_ours for address in present):
            steps += [PutAddress(link.index, item.cidr, False) for item in present if item.is_ours]
            steps.append(SetUp(link.index, False))
    return steps


def _plan_nic_addresses(index: int, wanted: tuple[str, ...], present: list[AddressSeen]) -> list[Step]:
    """Foreign addresses stay: keepalived has its own.

    The kernel appends, and its order decides which address is primary. From the first one that stands
    elsewhere than wanted, ours are taken off and added again.
    """
    ordered = [address.cidr for address in present if address.cidr in wanted]
    agreed = 0
    while agreed < min(len(ordered), len(wanted)) and ordered[agreed] == wanted[agreed]:
        agreed += 1
    keep = set(wanted[:agreed]) | {item.cidr for item in present if not item.is_ours}
    gone: list[Step] = [PutAddress(index, item.cidr, False) for item in present if item.cidr not in keep]
    return gone + [PutAddress(index, cidr, True) for cidr in wanted if cidr not in keep]


def plan_routes(wanted: Wanted, seen: Seen) -> list[Step]:
    """Routes of the main table that carry our mark become the wanted ones."""
    links = find_links(wanted, seen)
    targets = {(links[route.interface].index, route.destination, route.gateway) for route in wanted.routes}
    present = {(item.index, item.destination, item.gateway) for item in seen.routes if item.is_ours}
    steps: list[Step] = [PutRoute(*key, present=False) for key in sorted(present - targets)]
    return steps + [PutRoute(*key, present=True) for key in sorted(targets - present)]
