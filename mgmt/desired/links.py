"""NICs and routes of a system VM's document."""

from collections.abc import Sequence
from ipaddress import IPv4Network

from mgmt.desired.inputs import Link
from systemvm.spec.network import MOST_RESOLVERS, Interfaces, Nic, Route
from systemvm.spec.types import Purpose

DEFAULT = "0.0.0.0/0"


def link_name(purpose: str, index: int = 0) -> str:
    """Name of a NIC inside its machine: `public0`, `guest0`, `management0`."""
    return f"{purpose}{index}"


def cidr(address: str, netmask: str) -> str:
    """Address with prefix length: 10.1.1.1 and 255.255.255.0 are 10.1.1.1/24."""
    return f"{address}/{prefix_length(netmask)}"


def prefix_length(netmask: str) -> int:
    """Bits of a dotted netmask."""
    return IPv4Network(f"0.0.0.0/{netmask}").prefixlen


def service_interfaces(links: Sequence[Link], resolvers: Sequence[str]) -> Interfaces:
    """NICs of a console proxy or storage VM: each with its own address, the way out is the public one.

    Of `resolvers` it asks the first few.
    """
    nics = []
    routes = []
    for link in links:
        if link.purpose == Purpose.linklocal:
            continue
        name = link_name(link.purpose)
        addresses = (cidr(link.address, link.netmask),) if link.address and link.netmask else ()
        nics.append(Nic(mac=link.mac, name=name, purpose=Purpose(link.purpose), addresses=addresses))
        if link.purpose == Purpose.public and link.gateway:
            routes.append(Route(destination=DEFAULT, gateway=link.gateway, interface=name))
    return Interfaces(nics=tuple(nics), routes=tuple(routes), resolvers=tuple(resolvers[:MOST_RESOLVERS]))
