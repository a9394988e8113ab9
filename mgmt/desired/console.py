"""The document of a console proxy."""

from collections.abc import Sequence
from dataclasses import dataclass

from mgmt.desired.inputs import Link, Machine
from mgmt.desired.links import service_interfaces
from systemvm.spec.appliances import Console, HostEndpoint
from systemvm.spec.network import Nftables
from systemvm.spec.state import State
from systemvm.spec.types import Purpose, Role


@dataclass(frozen=True, kw_only=True)
class ConsoleKeys:
    """PEMs: what browsers see, how the proxy shows itself to hosts, and what it verifies."""

    certificate: str
    key: str
    ticket_key: str
    client_certificate: str
    client_key: str
    server_ca: str


def compile_console(
    machine: Machine,
    links: Sequence[Link],
    keys: ConsoleKeys,
    hosts: Sequence[HostEndpoint],
    resolvers: Sequence[str] = (),
) -> State:
    """Everything a console proxy should be; `hosts` are those whose consoles it may open."""
    return State(
        generation=machine.generation,
        machine=machine.id,
        role=Role.console,
        hostname=machine.name,
        interfaces=service_interfaces(links, resolvers),
        # Default drop: only what this very document serves is opened.
        nftables=Nftables(),
        console=Console(
            address=_public_address(links),
            certificate=keys.certificate,
            key=keys.key,
            ticket_key=keys.ticket_key,
            client_certificate=keys.client_certificate,
            client_key=keys.client_key,
            server_ca=keys.server_ca,
            hosts=tuple(sorted(hosts, key=lambda host: host.host)),
        ),
    )


def _public_address(links: Sequence[Link]) -> str:
    return next(link.address for link in links if link.purpose == Purpose.public and link.address)
