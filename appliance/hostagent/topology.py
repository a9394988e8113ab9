"""The bridges and tunnels of a host as plain values, and the plan from what is there to what is wanted."""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

from systemvm.spec.host import HostState

#: IANA's VXLAN port (RFC 7348); the kernel's own default is another, for history's sake.
VXLAN_PORT = 4789
DEFAULT_MTU = 1500


@dataclass(frozen=True)
class BridgeLink:
    """A bridge; `addresses` are the host's own on it, `uplink` a physical port or empty."""

    name: str
    addresses: frozenset[str] = frozenset()
    mtu: int = DEFAULT_MTU
    uplink: str = ""


@dataclass(frozen=True)
class TunnelLink:
    """A VXLAN port of a bridge; frames to unknown stations are sent to every one of `peers`."""

    name: str
    vni: int
    bridge: str
    local: str
    mtu: int
    peers: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Topology:
    """All links that are ours, by name."""

    bridges: dict[str, BridgeLink]
    tunnels: dict[str, TunnelLink]


@dataclass(frozen=True)
class DeleteLink:
    """Remove a link."""

    name: str


@dataclass(frozen=True)
class AddBridge:
    """Make a bridge, without addresses and ports."""

    name: str


@dataclass(frozen=True)
class AddTunnel:
    """Make a VXLAN device, without peers."""

    tunnel: TunnelLink


@dataclass(frozen=True)
class SetMtu:
    """Change the MTU of a link, in bytes."""

    name: str
    mtu: int


@dataclass(frozen=True)
class Enslave:
    """Make a link a port of a bridge; an empty bridge releases it."""

    port: str
    bridge: str


@dataclass(frozen=True)
class AddAddress:
    """Give a link an address (CIDR)."""

    name: str
    address: str


@dataclass(frozen=True)
class RemoveAddress:
    """Take an address (CIDR) from a link."""

    name: str
    address: str


@dataclass(frozen=True)
class AddPeer:
    """Flood to one more tunnel endpoint."""

    name: str
    peer: str


@dataclass(frozen=True)
class RemovePeer:
    """Flood to a tunnel endpoint no more."""

    name: str
    peer: str


Step = (
    DeleteLink | AddBridge | AddTunnel | SetMtu | Enslave | AddAddress | RemoveAddress | AddPeer | RemovePeer
)


def guest_bridge(vni: int) -> str:
    """Name of the bridge of a guest network."""
    return f"brvx-{vni}"


def wanted_topology(state: HostState, management_address: str) -> Topology:
    """What the document asks for; tunnels start at the host's management address."""
    bridges = {
        bridge.name: BridgeLink(
            bridge.name, frozenset(map(_canonical, bridge.addresses)), DEFAULT_MTU, bridge.uplink
        )
        for bridge in state.bridges
    }
    tunnels = {}
    for network in state.networks:
        name = guest_bridge(network.vni)
        bridges[name] = BridgeLink(name, mtu=network.mtu)
        if network.peers:
            tunnel = f"vxlan{network.vni}"
            peers = frozenset(network.peers) - {management_address}
            tunnels[tunnel] = TunnelLink(tunnel, network.vni, name, management_address, network.mtu, peers)
    return Topology(bridges, tunnels)


def plan(wanted: Topology, present: Topology) -> list[Step]:
    """The steps that make `present` equal `wanted`, in an order that works; [] when nothing is to do."""
    steps: list[Step] = []
    for name, tunnel in present.tunnels.items():
        if name not in wanted.tunnels or _must_be_remade(wanted.tunnels[name], tunnel):
            steps.append(DeleteLink(name))
    steps += [DeleteLink(name) for name in present.bridges if name not in wanted.bridges]
    for bridge in wanted.bridges.values():
        steps += _bridge_steps(bridge, present.bridges.get(bridge.name))
    for tunnel in wanted.tunnels.values():
        found = present.tunnels.get(tunnel.name)
        steps += _tunnel_steps(tunnel, None if found and _must_be_remade(tunnel, found) else found)
    return steps


def _bridge_steps(wanted: BridgeLink, present: BridgeLink | None) -> Iterator[Step]:
    if present is None:
        yield AddBridge(wanted.name)
        present = BridgeLink(wanted.name)
    if wanted.mtu != present.mtu:
        yield SetMtu(wanted.name, wanted.mtu)
    if wanted.uplink != present.uplink:
        if present.uplink:
            yield Enslave(present.uplink, "")
        if wanted.uplink:
            yield Enslave(wanted.uplink, wanted.name)
    for address in sorted(present.addresses - wanted.addresses):
        yield RemoveAddress(wanted.name, address)
    for address in sorted(wanted.addresses - present.addresses):
        yield AddAddress(wanted.name, address)


def _tunnel_steps(wanted: TunnelLink, present: TunnelLink | None) -> Iterator[Step]:
    if present is None:
        yield AddTunnel(wanted)
    elif wanted.mtu != present.mtu:
        yield SetMtu(wanted.name, wanted.mtu)
    if present is None or present.bridge != wanted.bridge:
        yield Enslave(wanted.name, wanted.bridge)
    known = present.peers if present else frozenset()
    for peer in sorted(known - wanted.peers):
        yield RemovePeer(wanted.name, peer)
    for peer in sorted(wanted.peers - known):
        yield AddPeer(wanted.name, peer)


def _must_be_remade(wanted: TunnelLink, present: TunnelLink) -> bool:
    """VNI and local address of a VXLAN device cannot be changed."""
    return (wanted.vni, wanted.local) != (present.vni, present.local)


def _canonical(cidr: str) -> str:
    return str(ipaddress.ip_interface(cidr))
