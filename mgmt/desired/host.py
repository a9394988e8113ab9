"""The document of a hypervisor host: the guest networks that have a VM on it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from systemvm.spec.host import GuestNetwork, HostState


@dataclass(frozen=True, kw_only=True)
class PlacedNetwork:
    """A network and the management addresses of the hosts that have a VM of it, this one included."""

    id: str
    vni: int
    hosts: tuple[str, ...]


def compile_host(
    host: str, address: str, generation: int, networks: Iterable[PlacedNetwork], ticket_key: str
) -> HostState:
    """Everything a host's networks should be; `address` is its own management address."""
    return HostState(
        generation=generation,
        host=host,
        networks=tuple(
            GuestNetwork(id=network.id, vni=network.vni, peers=_others(network.hosts, address))
            for network in sorted(networks, key=lambda network: network.vni)
        ),
        ticket_key=ticket_key,
    )


def _others(hosts: Sequence[str], own: str) -> tuple[str, ...]:
    return tuple(sorted(address for address in set(hosts) if address != own))


def guest_bridge(vni: int) -> str:
    """Name of a guest network's bridge on every host (see `systemvm.spec.host.GuestNetwork`)."""
    return f"brvx-{vni}"
