"""Addresses through which mgmt reaches system VMs: link-local per host, management per zone."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.model.errors import NoCapacity
from mgmt.store.tables import Pod, Vm
from systemvm.spec.host import LINKLOCAL_NETWORK

#: Where every guest on earth expects its metadata; nobody else may have an address there.
_METADATA = IPv4Network("169.254.169.0/24")


def linklocal_address(session: Session, host_id: str) -> str:
    """The first free link-local address of a host's cloud0 bridge. Raises NoCapacity."""
    query = select(Vm.linklocal_address).where(Vm.host_id == host_id, Vm.removed.is_(None))
    taken = set(session.scalars(query))
    for address in _linklocal():
        if str(address) not in taken:
            return str(address)
    raise NoCapacity(f"host {host_id} has no free link-local address: it has {len(taken)} system VMs")


def management_address(session: Session, zone_id: str) -> tuple[str, Pod]:
    """The first free address of the zone's pods, and its pod. Raises NoCapacity."""
    query = select(Vm.management_address).where(Vm.zone_id == zone_id, Vm.removed.is_(None))
    taken = set(session.scalars(query))
    pods = session.scalars(select(Pod).where(Pod.zone_id == zone_id, Pod.removed.is_(None)))
    for pod in pods.all():
        for number in range(int(IPv4Address(pod.start_ip)), int(IPv4Address(pod.end_ip)) + 1):
            if (address := str(IPv4Address(number))) not in taken:
                return address, pod
    raise NoCapacity(
        "no pod of the zone has a free management address: widen the range of one with updatePod"
    )


def _linklocal() -> Iterator[IPv4Address]:
    # RFC 3927, 2.1: the first and the last 256 addresses of the block are reserved.
    network = IPv4Network(LINKLOCAL_NETWORK)
    for number in range(int(network.network_address) + 256, int(network.broadcast_address) - 255):
        address = IPv4Address(number)
        if address not in _METADATA:
            yield address
