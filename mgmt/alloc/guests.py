"""Addresses inside a guest network."""

import socket
from ipaddress import AddressValueError, IPv4Address, IPv4Network

from sqlalchemy import bindparam, select, union_all
from sqlalchemy.orm import Session

from mgmt.model.errors import NoCapacity, ParameterError
from mgmt.store.tables import Network, Nic, NicAddress

#: Built once, because each new NIC asks for it.
_TAKEN = union_all(
    *(
        select(table.address).where(table.network_id == bindparam("network_id"), table.removed.is_(None))
        for table in (Nic, NicAddress)
    )
)


def guest_address(session: Session, network: Network, wanted: str | None = None) -> str:
    """The first free address of the network, or `wanted` if it is free.

    Raises ParameterError for a wanted address that cannot be had, NoCapacity when the network is full.
    """
    cidr = IPv4Network(network.cidr)
    taken = set(session.scalars(_TAKEN, {"network_id": network.id})) | {network.gateway}
    if wanted is not None:
        return _wanted(cidr, taken, wanted, network.name)
    for number in range(int(cidr.network_address) + 1, int(cidr.broadcast_address)):
        address = socket.inet_ntoa(number.to_bytes(4))
        if address not in taken:
            return address
    raise NoCapacity(
        f"network {network.name} ({network.cidr}) has no free address: remove a VM or use another"
    )


def _wanted(cidr: IPv4Network, taken: set[str | None], wanted: str, name: str) -> str:
    try:
        address = IPv4Address(wanted)
    except AddressValueError:
        raise ParameterError(f"IP address {wanted!r} is not an IPv4 address") from None
    if address not in cidr or address in (cidr.network_address, cidr.broadcast_address):
        raise ParameterError(f"IP address {wanted} is not one that a VM can have in network {name} ({cidr})")
    if str(address) in taken:
        raise ParameterError(f"IP address {wanted} is already taken in network {name}: choose another")
    return str(address)
