"""The DNS servers that this machine asks itself: guests that may leave it ask the same."""

from ipaddress import AddressValueError, IPv4Address
from pathlib import Path

#: resolv.conf(5); and what is behind it where that only names systemd-resolved's own 127.0.0.53.
FILES = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
#: As many as a zone has.
MOST = 2


def read_resolvers(files: tuple[Path, ...] = FILES) -> tuple[str, ...]:
    """Addresses that guests can reach too, the first file's if it has any; none on loopback, IPv4 only."""
    for file in files:
        if not file.exists():
            continue
        lines = [line.split() for line in file.read_text(errors="replace").splitlines()]
        found = [words[1] for words in lines if words[:1] == ["nameserver"] and _is_reachable(words[1:])]
        if found:
            return tuple(found[:MOST])
    return ()


def _is_reachable(words: list[str]) -> bool:
    try:
        address = IPv4Address(words[0])
    except (IndexError, AddressValueError):
        return False
    return not (address.is_loopback or address.is_unspecified or address.is_link_local)
