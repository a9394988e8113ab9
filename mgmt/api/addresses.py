"""IPv4 parameters: addresses, masks, networks and ranges, checked together, each mistake named."""

from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError

from mgmt.api.params import wrong_value
from mgmt.model.errors import ParameterError

MOST_RANGE = 65536
"""Longest range taken, in addresses: each public one becomes a row."""


@dataclass(frozen=True)
class AddressRange:
    """A range of addresses in a network with a gateway, all checked to fit."""

    network: IPv4Network
    gateway: IPv4Address
    start: IPv4Address
    end: IPv4Address

    def overlaps(self, start: str, end: str) -> bool:
        """Whether the range `start`..`end` has an address in common with this one."""
        return IPv4Address(start) <= self.end and self.start <= IPv4Address(end)

    def shares_subnet(self, gateway: str, netmask: str) -> bool:
        """Whether the network of `gateway` and `netmask` has an address in common with this one's."""
        return self.network.overlaps(IPv4Network(f"{gateway}/{netmask}", strict=False))

    def addresses(self) -> list[IPv4Address]:
        """All addresses, first to last."""
        return [IPv4Address(number) for number in range(int(self.start), int(self.end) + 1)]


def read_address(name: str, text: str) -> IPv4Address:
    """An IPv4 address. Raises `ParameterError`."""
    try:
        return IPv4Address(text)
    except AddressValueError as error:
        raise wrong_value(name, text, "an IPv4 address") from error


def read_network(name: str, text: str) -> IPv4Network:
    """An IPv4 network in CIDR form, host bits zero. Raises `ParameterError`."""
    try:
        if "/" not in text:
            raise ValueError("no prefix length")
        return IPv4Network(text)
    except ValueError as error:
        raise wrong_value(name, text, f"an IPv4 network as 10.1.1.0/24 ({error})") from error


def network_of(gateway: IPv4Address, netmask: str) -> IPv4Network:
    """The network a gateway and a netmask span. Raises `ParameterError`."""
    try:
        return IPv4Network(f"{gateway}/{read_address('netmask', netmask)}", strict=False)
    except NetmaskValueError as error:
        raise wrong_value("netmask", netmask, "a netmask as 255.255.255.0") from error


def read_range(gateway: str, netmask: str, start: str, end: str | None) -> AddressRange:
    """A range; without an end it is one address. Raises `ParameterError` naming what does not fit."""
    router = read_address("gateway", gateway)
    network = network_of(router, netmask)
    first = read_address("startip", start)
    last = read_address("endip", end) if end else first
    for name, address in (("gateway", router), ("startip", first), ("endip", last)):
        if address not in network or address in (network.network_address, network.broadcast_address):
            raise wrong_value(name, address, f"a host address in {network}")
    if last < first:
        raise ParameterError(f"The range ends at {last}, before its start {first}; swap startip and endip")
    if first <= router <= last:
        raise ParameterError(f"The gateway {router} is inside the range {first}-{last}; leave it out")
    if int(last) - int(first) >= MOST_RANGE:
        raise ParameterError(
            f"The range {first}-{last} has more than {MOST_RANGE} addresses; make smaller ones"
        )
    return AddressRange(network=network, gateway=router, start=first, end=last)
