"""DHCP messages (RFC 2131) to the server on this very machine: one discovers, one releases."""

import ctypes
import secrets
import socket
import struct
import time
from ipaddress import IPv4Address

_SERVER_PORT = 67
_DISCOVER, _OFFER, _RELEASE = 1, 2, 7
_MESSAGE_TYPE, _SERVER_ID, _CLIENT_ID, _END = 53, 54, 61, 255
_MAGIC = b"\x63\x82\x53\x63"
_FIXED = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s4s")
_ETH_P_ALL, _SO_ATTACH_FILTER = 0x0003, 26
#: Classic BPF on an IPv4 packet: only whole UDP datagrams from port 67.
_FROM_SERVER = (
    (0x30, 0, 0, 9),  # protocol
    (0x15, 0, 6, 17),  # UDP?
    (0x28, 0, 0, 6),  # fragment offset
    (0x45, 4, 0, 0x1FFF),  # zero?
    (0xB1, 0, 0, 0),  # length of the IP header
    (0x48, 0, 0, 0),  # source port
    (0x15, 0, 1, _SERVER_PORT),
    (0x06, 0, 0, 0xFFFF),
    (0x06, 0, 0, 0),
)


def discover(link: str, own: IPv4Address, mac: str, seconds: float) -> IPv4Address | None:
    """The address that the server on `link` offers to `mac`, None if it offers none within `seconds`.

    A server on this machine gets no broadcast from this machine. So the question goes to its address,
    bound to the link, which makes it arrive as if on that link; the offer is read off the link, where
    the server sends it to the guest. Guests ignore an offer that they did not ask for, and an offer
    leases nothing. Needs CAP_NET_RAW.
    """
    transaction = secrets.token_bytes(4)
    with _listen(link) as wire:
        _send(link, own, _message(_DISCOVER, mac, transaction))
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            wire.settimeout(left)
            try:
                packet = wire.recv(2048)
            except TimeoutError:
                return None
            offer = _parse_offer(packet, transaction)
            if offer is not None:
                return offer
    return None


def release(link: str, own: IPv4Address, mac: str, address: IPv4Address, client_id: str) -> None:
    """Give a lease back in its holder's name; `client_id` is hex, empty if it has none."""
    options = bytes([_SERVER_ID, 4]) + own.packed
    if client_id:
        raw = bytes.fromhex(client_id)
        options += bytes([_CLIENT_ID, len(raw)]) + raw
    _send(link, own, _message(_RELEASE, mac, secrets.token_bytes(4), address, options))


def _message(
    kind: int, mac: str, transaction: bytes, client: IPv4Address | None = None, options: bytes = b""
) -> bytes:
    zero = bytes(4)
    fixed = _FIXED.pack(
        1, 1, 6, 0,
        int.from_bytes(transaction, "big"),
        0, 0,
        client.packed if client else zero, zero, zero, zero,
        bytes.fromhex(mac.replace(":", "")),
        b"", b"", _MAGIC,
    )  # fmt: skip
    return fixed + bytes([_MESSAGE_TYPE, 1, kind]) + options + bytes([_END])


def _send(link: str, own: IPv4Address, message: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.encode())
        sender.bind((str(own), 0))
        sender.sendto(message, (str(own), _SERVER_PORT))


def _listen(link: str) -> socket.socket:
    """Packets on a link, outgoing ones too, from DHCP servers only."""
    program = b"".join(struct.pack("=HBBI", *step) for step in _FROM_SERVER)
    code = ctypes.create_string_buffer(program)
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    try:
        # struct sock_fprog: a length and a pointer (linux/filter.h). Filtered before it is bound, so
        # that nothing else ever enters the queue.
        fprog = struct.pack("@HP", len(_FROM_SERVER), ctypes.addressof(code))
        wire.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
        wire.bind((link, _ETH_P_ALL))
    except BaseException:
        wire.close()
        raise
    return wire


def _parse_offer(packet: bytes, transaction: bytes) -> IPv4Address | None:
    """The offered address in an IPv4 packet, if it is the answer to this very question."""
    message = packet[(packet[0] & 0x0F) * 4 + 8 :]
    if len(message) < _FIXED.size + 3 or message[4:8] != transaction or message[236:240] != _MAGIC:
        return None
    # dnsmasq, like every server, puts the message type first (RFC 2131, 3: it must be there).
    if message[240:243] != bytes([_MESSAGE_TYPE, 1, _OFFER]):
        return None
    return IPv4Address(message[16:20])
