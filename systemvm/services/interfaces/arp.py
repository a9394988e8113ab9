"""Gratuitous ARP: neighbours learn at once where an address lives now (RFC 5227, section 3)."""

import contextlib
import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address

_ETHERTYPE_ARP = 0x0806
_BROADCAST = b"\xff" * 6
#: Switches lose single frames while a port wakes up.
_REPEATS = 2


def announce(link: str, mac: str, addresses: Iterable[IPv4Address]) -> None:
    """Broadcast ARP announcements of `addresses` from `link`, both forms that stacks listen to.

    All frames leave at once: one `arping` process per address made routers with many addresses slow.
    Best effort: a link without carrier has no neighbours to tell.
    """
    frames = [frame for address in addresses for frame in announcement(mac, address)]
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETHERTYPE_ARP)) as raw,
    ):
        raw.bind((link, 0))
        for _ in range(_REPEATS):
            for frame in frames:
                raw.send(frame)


def announcement(mac: str, address: IPv4Address) -> list[bytes]:
    """An ARP request and an ARP reply (RFC 826) that both say `address` is at `mac`."""
    sender = bytes.fromhex(mac.replace(":", ""))
    ethernet = _BROADCAST + sender + struct.pack("!H", _ETHERTYPE_ARP)
    frames = []
    for operation, target in ((1, bytes(6)), (2, sender)):
        body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
        frames.append(ethernet + body + sender + address.packed + target + address.packed)
    return frames
