"""What the service wants of the kernel, and what it sees there."""

from dataclasses import dataclass, field

from systemvm.spec.network import Nic, Route

#: Mark of our addresses (IFA_PROTO) and routes (rtm_protocol). Not in iproute2's rt_protos; keepalived
#: uses 18, the kernel and DHCP clients lower numbers, routing daemons 42 and 186 upwards.
OWNER = 80


@dataclass(frozen=True)
class Wanted:
    """Everything that `apply` sets; `sysctls` are paths below /proc/sys with their values."""

    nics: tuple[Nic, ...] = ()
    routes: tuple[Route, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class LinkSeen:
    """A link of the kernel; `kind` is empty for hardware, else `veth`, `vlan`, …"""

    index: int
    name: str
    mac: str
    mtu: int
    is_up: bool
    kind: str = ""


@dataclass(frozen=True)
class AddressSeen:
    """An IPv4 address with prefix length; `is_ours` by its mark."""

    index: int
    cidr: str
    is_ours: bool


@dataclass(frozen=True)
class RouteSeen:
    """A unicast route of the main table; `gateway` is empty for connected networks."""

    index: int
    destination: str
    gateway: str
    is_ours: bool


@dataclass(frozen=True)
class Seen:
    """One snapshot of the kernel; addresses are in kernel order, the first of a network is its primary."""

    links: tuple[LinkSeen, ...] = ()
    addresses: tuple[AddressSeen, ...] = ()
    routes: tuple[RouteSeen, ...] = field(default=())
