"""What the firewall has to know of the other sections: links, addresses, ports that the machine serves."""

from dataclasses import dataclass

from systemvm.engine.problems import addresses_of
from systemvm.spec.bootstrap import AGENT_PORT, CONTROL_LINK
from systemvm.spec.network import Nftables
from systemvm.spec.state import State
from systemvm.spec.types import Purpose

DNS, DHCP, HTTP, PASSWORD = 53, 67, 80, 8080


@dataclass(frozen=True)
class GuestNetwork:
    """A guest network at a link; `gateway` is this machine's address in it."""

    link: str
    network: str
    gateway: str


@dataclass(frozen=True)
class Peer:
    """The other router of a VRRP pair, and the link it speaks on."""

    link: str
    address: str


@dataclass(frozen=True)
class Layout:
    """Around the rules. `by_link` holds link, protocol and port; `by_address` address, protocol and port.

    `open_addresses` are served to anyone (console, storage); `balanced` only to whom an ingress rule
    lets in, as far as their address is public.
    """

    public_links: tuple[str, ...] = ()
    guests: tuple[GuestNetwork, ...] = ()
    metadata_links: tuple[str, ...] = ()
    public_addresses: tuple[str, ...] = ()
    by_link: tuple[tuple[str, str, int], ...] = ()
    open_addresses: tuple[tuple[str, str, int], ...] = ()
    balanced: tuple[tuple[str, str, int], ...] = ()
    peers: tuple[Peer, ...] = ()

    @property
    def guest_links(self) -> tuple[str, ...]:
        """Names of the links that lead to guests, each once."""
        return tuple(dict.fromkeys(guest.link for guest in self.guests))


def layout_of(state: State) -> Layout:
    """The layout of a checked document."""
    nics = state.interfaces.nics
    public = [nic for nic in nics if nic.purpose is Purpose.public]
    guests = [
        GuestNetwork(nic.name, str(address.network), str(address.ip))
        for nic in nics
        if nic.purpose is Purpose.guest
        for address in addresses_of(nic)
    ]
    own = [str(address.ip) for nic in public for address in addresses_of(nic)]
    balancers = state.haproxy.balancers if state.haproxy else ()
    return Layout(
        public_links=tuple(nic.name for nic in public),
        guests=tuple(guests),
        metadata_links=state.metadata.interfaces if state.metadata else (),
        public_addresses=tuple(sorted({*own, *_translated(state.nftables or Nftables())})),
        by_link=tuple(_by_link(state)),
        open_addresses=tuple(_open_addresses(state)),
        balanced=tuple((balancer.address, "tcp", balancer.port) for balancer in balancers),
        peers=tuple(_peers(state)),
    )


def _translated(section: Nftables) -> set[str]:
    """Public addresses that rules name; their traffic is judged even if no NIC carries them yet."""
    return {
        *(rule.public for rule in section.static_nat),
        *(rule.public for rule in section.port_forwards),
        *(rule.public for rule in section.ingress),
        *(rule.public for rule in section.source_nat),
    }


def _by_link(state: State) -> list[tuple[str, str, int]]:
    served = [(CONTROL_LINK, "tcp", AGENT_PORT)]
    for subnet in state.dnsmasq.subnets if state.dnsmasq else ():
        served += [
            (subnet.interface, "udp", DHCP),
            (subnet.interface, "udp", DNS),
            (subnet.interface, "tcp", DNS),
        ]
    for link in state.metadata.interfaces if state.metadata else ():
        served += [(link, "tcp", HTTP), (link, "tcp", PASSWORD)]
    return list(dict.fromkeys(served))


def _open_addresses(state: State) -> list[tuple[str, str, int]]:
    served = []
    if state.console:
        served.append((state.console.address, "tcp", state.console.port))
    if state.storage:
        served.append((state.storage.address, "tcp", state.storage.port))
        if state.storage.public:
            served.append((state.storage.public, "tcp", state.storage.public_port))
    return served


def _peers(state: State) -> list[Peer]:
    instances = state.keepalived.instances if state.keepalived else ()
    return list(dict.fromkeys(Peer(instance.interface, instance.peer) for instance in instances))
