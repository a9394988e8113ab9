"""Sections of a router's document: links, firewall and NAT, DHCP and DNS, metadata, balancing, redundancy."""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

from systemvm.spec.types import (
    Cidr,
    Domain,
    Ipv4,
    Label,
    LinkName,
    Mac,
    Port,
    PortRange,
    Protocol,
    Purpose,
    Secret,
    Uuid,
)

#: A machine asks no more DNS servers than these (resolv.conf(5), MAXNS).
MOST_RESOLVERS = 3


class Nic(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A link, found by MAC and given its name; `addresses` are CIDRs, the first one is the primary."""

    mac: Mac
    name: LinkName
    purpose: Purpose
    addresses: tuple[Cidr, ...] = ()
    mtu: Annotated[int, Meta(ge=576, le=9216)] = 1500


class Route(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A static route; `0.0.0.0/0` is the default route."""

    destination: Cidr
    gateway: Ipv4
    interface: LinkName


class Interfaces(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every NIC of the machine except the link-local one, which the bootstrap owns and nothing may change.

    `resolvers` are the DNS servers that the machine itself asks, in this order; guests have others.
    """

    nics: tuple[Nic, ...] = ()
    routes: tuple[Route, ...] = ()
    forwarding: bool = False
    resolvers: Annotated[tuple[Ipv4, ...], Meta(max_length=MOST_RESOLVERS)] = ()


class SourceNat(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Guests of `network` leave through `interface` with the address `public`."""

    network: Cidr
    interface: LinkName
    public: Ipv4


class StaticNat(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One public address belongs to one guest, both ways."""

    id: Uuid
    public: Ipv4
    private: Ipv4


class PortForward(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ports of a public address go to a guest; both ranges have the same length."""

    id: Uuid
    public: Ipv4
    protocol: Protocol
    public_ports: PortRange
    private: Ipv4
    private_ports: PortRange


class IngressRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lets `sources` reach a public address. `ports` for tcp and udp, `icmp_*` for icmp (-1 is any)."""

    id: Uuid
    public: Ipv4
    protocol: Protocol
    sources: tuple[Cidr, ...] = ("0.0.0.0/0",)
    ports: PortRange | None = None
    icmp_type: int = -1
    icmp_code: int = -1


class EgressRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An exception to the egress policy of one guest network."""

    id: Uuid
    interface: LinkName
    protocol: Protocol
    sources: tuple[Cidr, ...] = ()
    destinations: tuple[Cidr, ...] = ("0.0.0.0/0",)
    ports: PortRange | None = None
    icmp_type: int = -1
    icmp_code: int = -1


class EgressPolicy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What guests behind `interface` may do when no egress rule matches; rules then say the opposite."""

    interface: LinkName
    allow: bool


class Nftables(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Firewall and NAT of the machine: one ruleset, default drop.

    Ports that the machine itself serves (DHCP, DNS, metadata, balancers) are opened from the other
    sections of the same document; they are not listed here.
    """

    source_nat: tuple[SourceNat, ...] = ()
    static_nat: tuple[StaticNat, ...] = ()
    port_forwards: tuple[PortForward, ...] = ()
    ingress: tuple[IngressRule, ...] = ()
    egress_policies: tuple[EgressPolicy, ...] = ()
    egress: tuple[EgressRule, ...] = ()


class DhcpSubnet(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A guest network that is served addresses, a gateway, resolvers and a domain name."""

    interface: LinkName
    network: Cidr
    gateway: Ipv4
    dns: tuple[Ipv4, ...] = ()
    domain: Domain
    mtu: Annotated[int, Meta(ge=576, le=9216)] = 1500


class DhcpHost(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A guest NIC: it gets this address and these options, and its name resolves.

    A NIC that is not its guest's `default` gets neither a gateway nor resolvers.
    """

    interface: LinkName
    mac: Mac
    address: Ipv4
    hostname: Label
    default: bool = True


class Dnsmasq(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """DHCP and DNS for guests only; `upstream` resolvers may be empty, then only guest names resolve."""

    subnets: tuple[DhcpSubnet, ...] = ()
    hosts: tuple[DhcpHost, ...] = ()
    upstream: tuple[Ipv4, ...] = ()


class GuestPassword(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A password that a guest may fetch once; a new `id` makes it available again."""

    id: Uuid
    value: Secret


class GuestMetadata(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the guest at `address` may read, and no other guest.

    `user_data` is base64. `meta_data` holds path and value, e.g. `local-hostname`, `public-keys`.
    """

    address: Ipv4
    user_data: Secret = ""
    meta_data: dict[str, str] = {}
    password: GuestPassword | None = None


class Metadata(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """User data, metadata and passwords, on each listed interface's gateway and on 169.254.169.254."""

    interfaces: tuple[LinkName, ...] = ()
    guests: tuple[GuestMetadata, ...] = ()


class Algorithm(StrEnum):
    """How a balancer picks a member (CloudStack's spelling)."""

    roundrobin = "roundrobin"
    leastconn = "leastconn"
    source = "source"


class Member(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A guest behind a balancer."""

    id: Uuid
    address: Ipv4
    port: Port


class Balancer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A TCP balancer; without members it answers with a refusal, not with a hang.

    Clients that are not within `sources` are refused, if there are any sources.
    """

    id: Uuid
    address: Ipv4
    port: Port
    algorithm: Algorithm = Algorithm.roundrobin
    sources: tuple[Cidr, ...] = ()
    members: tuple[Member, ...] = ()


class Haproxy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Load balancing."""

    balancers: tuple[Balancer, ...] = ()


class VrrpInstance(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One VRRP instance (RFC 9568); unicast to `peer`, so that it needs no multicast."""

    name: Label
    interface: LinkName
    virtual_router_id: Annotated[int, Meta(ge=1, le=255)]
    priority: Annotated[int, Meta(ge=1, le=254)]
    address: Ipv4
    peer: Ipv4
    virtual_addresses: tuple[Cidr, ...]
    advert_seconds: Annotated[int, Meta(ge=1, le=255)] = 1


class Keepalived(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Redundancy: who holds the virtual addresses."""

    instances: tuple[VrrpInstance, ...] = ()
