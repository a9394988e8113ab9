"""Primitive types shared by every document: addresses, ports, names, problems.

Documents carry plain strings, so that they stay readable JSON on every wire. What msgspec can hold
by pattern it holds at decode time; what needs arithmetic (is this address inside that network?) is
checked by the services, which report every problem at once.
"""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

# Python's `$` also matches before a newline at the end, which would let one into a configuration file.
Uuid = Annotated[str, Meta(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$(?!\n)")]
Mac = Annotated[str, Meta(pattern=r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}$(?!\n)")]
Ipv4 = Annotated[str, Meta(pattern=r"^[0-9]{1,3}(\.[0-9]{1,3}){3}$(?!\n)")]
Cidr = Annotated[str, Meta(pattern=r"^[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}$(?!\n)")]
Port = Annotated[int, Meta(ge=1, le=65535)]
# RFC 1123 label; also what libvirt, dnsmasq and haproxy accept unquoted.
Label = Annotated[str, Meta(pattern=r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$(?!\n)")]
Domain = Annotated[str, Meta(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$(?!\n)")]
# IFNAMSIZ is 16 with the terminating zero (linux/if.h).
LinkName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,14}$(?!\n)")]
#: Never logged, never returned by a read; see `systemvm.spec.codec.redact`.
Secret = Annotated[str, Meta(extra={"secret": True})]


class Role(StrEnum):
    """What a system VM is for; one image serves all of them."""

    router = "router"
    console = "console"
    storage = "storage"
    loadbalancer = "loadbalancer"


class Purpose(StrEnum):
    """What a NIC of a system VM is for."""

    linklocal = "linklocal"
    management = "management"
    public = "public"
    guest = "guest"


class Protocol(StrEnum):
    """Transport protocol of a rule."""

    tcp = "tcp"
    udp = "udp"
    icmp = "icmp"
    all = "all"


class PortRange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Inclusive range of ports."""

    first: Port
    last: Port


class Problem(Struct, frozen=True, kw_only=True):
    """One mistake in a document: where (`nftables.port_forwards[2].public`), and what to do about it."""

    path: str
    message: str


class ProbeResult(Struct, frozen=True, kw_only=True):
    """Answer of one functional check, in words an operator can act on."""

    service: str
    name: str
    healthy: bool
    message: str
    seconds: float = 0.0
