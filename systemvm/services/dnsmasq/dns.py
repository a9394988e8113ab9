"""One DNS question over UDP (RFC 1035): the IPv4 address of a name, asked of one server."""

import secrets
import socket
import struct
from ipaddress import IPv4Address

_A, _IN = 1, 1
_NO_ERROR = 0


class NoAnswer(Exception):
    """The server was silent, or did not know; the message says which."""


def resolve(name: str, server: IPv4Address, seconds: float) -> list[IPv4Address]:
    """The A records of a name. Raises NoAnswer."""
    identity = secrets.token_bytes(2)
    # Flags 0x0100: recursion desired. One question, nothing else.
    question = _name(name) + struct.pack("!HH", _A, _IN)
    query = identity + struct.pack("!HHHHH", 0x0100, 1, 0, 0, 0) + question
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(seconds)
        try:
            asker.connect((str(server), 53))
            asker.send(query)
            answer = asker.recv(512)
        except OSError as error:
            raise NoAnswer(f"{server} did not answer: {error}") from None
    flags, _, answers = struct.unpack_from("!HHH", answer, 2)
    if answer[:2] != identity or flags & 0x000F != _NO_ERROR:
        raise NoAnswer(f"{server} answered with code {flags & 0x000F} for {name}")
    return _addresses(answer, 12 + len(question), answers)


def _name(name: str) -> bytes:
    labels = [label.encode("ascii") for label in name.rstrip(".").split(".")]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def _addresses(answer: bytes, offset: int, count: int) -> list[IPv4Address]:
    found = []
    for _ in range(count):
        offset = _skip_name(answer, offset)
        kind, _, _, length = struct.unpack_from("!HHIH", answer, offset)
        offset += 10
        if kind == _A:
            found.append(IPv4Address(answer[offset : offset + 4]))
        offset += length
    return found


def _skip_name(answer: bytes, offset: int) -> int:
    """Behind a name: labels up to a zero, or up to a pointer (section 4.1.4)."""
    while answer[offset] and answer[offset] < 0xC0:
        offset += answer[offset] + 1
    return offset + (2 if answer[offset] >= 0xC0 else 1)
