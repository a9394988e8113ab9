"""What the compilers read: plain rows, secrets already open. Addresses are dotted, networks CIDRs."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A system VM, as its document names it; `generation` is the document's."""

    id: str
    name: str
    generation: int


@dataclass(frozen=True, kw_only=True)
class Link:
    """A NIC of a system VM; `purpose` as in `systemvm.spec.types.Purpose`."""

    mac: str
    purpose: str
    address: str | None = None
    netmask: str | None = None
    gateway: str | None = None


@dataclass(frozen=True, kw_only=True)
class GuestNetwork:
    """An isolated network; `egress_allow` is its offering's egress policy."""

    id: str
    cidr: str
    gateway: str
    domain: str
    dns: tuple[str, ...] = ()
    egress_allow: bool = False
    mtu: int = 1450


@dataclass(frozen=True, kw_only=True)
class PublicAddress:
    """An address that the network holds; `vm_address` is the guest of its static NAT."""

    id: str
    address: str
    netmask: str
    gateway: str
    is_source_nat: bool = False
    vm_address: str | None = None


@dataclass(frozen=True, kw_only=True)
class Firewall:
    """An ingress rule on a public address."""

    id: str
    public: str
    protocol: str
    cidrs: tuple[str, ...]
    start_port: int | None = None
    end_port: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None


@dataclass(frozen=True, kw_only=True)
class Egress:
    """An exception to the egress policy."""

    id: str
    protocol: str
    cidrs: tuple[str, ...]
    destinations: tuple[str, ...] = ()
    start_port: int | None = None
    end_port: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None


@dataclass(frozen=True, kw_only=True)
class Forward:
    """A port forwarding rule; ranges are inclusive."""

    id: str
    public: str
    protocol: str
    public_start: int
    public_end: int
    private: str
    private_start: int
    private_end: int


@dataclass(frozen=True, kw_only=True)
class Balancer:
    """A balancer; `members` are (id, address), `cidrs` the clients it serves (all without)."""

    id: str
    public: str
    public_port: int
    private_port: int
    algorithm: str
    cidrs: tuple[str, ...] = ()
    members: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Guest:
    """A tenant's VM on the network, through one NIC; `password` is in clear, `user_data` base64.

    `variables` are for its user data: cloud-init fills them in from the metadata.
    """

    vm_id: str
    hostname: str
    mac: str
    address: str
    is_default: bool
    offering: str
    zone: str
    instance_name: str
    cloud_domain: str
    cloud_domain_id: str
    public_keys: tuple[str, ...] = ()
    user_data: str = field(default="", repr=False)
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    password_id: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class RouterInput:
    """All of one isolated network."""

    machine: Machine
    links: tuple[Link, ...]
    network: GuestNetwork
    cloud_id: str
    addresses: tuple[PublicAddress, ...] = ()
    guests: tuple[Guest, ...] = ()
    firewall: tuple[Firewall, ...] = ()
    egress: tuple[Egress, ...] = ()
    forwards: tuple[Forward, ...] = ()
    balancers: tuple[Balancer, ...] = ()
