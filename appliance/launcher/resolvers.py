"""The DNS servers that this machine asks itself: guests that may leave it ask the same."""

from ipaddress import AddressValueError, IPv4Address
from pathlib import Path

from systemvm.engine.resolvers import RESOLV_CONF, read_nameservers

#: resolv.conf(5); and what is behind it where that only names systemd-resolved's own 127.0.0.53.
FILES = (Path(RESOLV_CONF), Path("/run/systemd/resolve/resolv.conf"))
#: As many as a zone has.
MOST = 2


def read_resolvers(files: tuple[Path, ...] = FILES) -> tuple[str, ...]:
    """Addresses that guests can reach too, the first file's if it has any; none on loopback, IPv4 only."""
    for file in files:
        found = [server for server in read_nameservers(file) if _is_reachable(server)]
        if found:
            return tuple(found[:MOST])
    return ()


def _is_reachable(server: str) -> bool:
    try:
        address = IPv4Address(server)
    except AddressValueError:
        return False
    return not (address.is_loopback or address.is_unspecified or address.is_link_local)
