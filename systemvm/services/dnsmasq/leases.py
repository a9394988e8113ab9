"""dnsmasq's lease file, and leases that no longer match the document.

dnsmasq refuses an address that another MAC still holds, with a warning that it is "leased to" that MAC.
Leases are for ever, so an address that went from one guest to another would never be served again.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from systemvm.engine.files import write_atomic


@dataclass(frozen=True)
class Lease:
    """One lease; `expires` is in Unix seconds, 0 for never; `client_id` is hex or empty."""

    expires: int
    mac: str
    address: str
    hostname: str
    client_id: str


def read_leases(path: Path) -> list[Lease]:
    """The leases in dnsmasq's file; none if there is no file yet."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return []
    return [lease for line in lines if (lease := _parse(line))]


def stale_leases(leases: Iterable[Lease], wanted: Iterable[tuple[str, str]]) -> list[Lease]:
    """Leases whose address the document does not give to their MAC; `wanted` holds address and MAC."""
    valid = set(wanted)
    return [lease for lease in leases if (lease.address, lease.mac) not in valid]


def remove_from_file(path: Path, stale: Iterable[Lease]) -> None:
    """Take leases out of the file of a dnsmasq that does not run."""
    gone = {(lease.mac, lease.address) for lease in stale}
    kept = [line for line in path.read_text().splitlines() if not _is_in(line, gone)]
    write_atomic(path, "".join(f"{line}\n" for line in kept).encode(), mode=path.stat().st_mode & 0o777)


def _is_in(line: str, gone: set[tuple[str, str]]) -> bool:
    lease = _parse(line)
    return lease is not None and (lease.mac, lease.address) in gone


def _parse(line: str) -> Lease | None:
    """`<expiry> <mac> <address> <name or *> <client id or *>`; other lines belong to DHCPv6."""
    words = line.split()
    if len(words) != 5 or words[2].count(".") != 3:
        return None
    expires, mac, address, hostname, client_id = words
    return Lease(
        expires=int(expires),
        # dnsmasq writes the hardware type before the address unless it is Ethernet.
        mac=mac.rpartition("-")[2].lower(),
        address=address,
        hostname="" if hostname == "*" else hostname,
        client_id="" if client_id == "*" else client_id.replace(":", ""),
    )
