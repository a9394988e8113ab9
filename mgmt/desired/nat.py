"""Firewall and NAT of a router: one pass over each kind of rule."""

from mgmt.desired.inputs import Egress, Firewall, RouterInput
from systemvm.spec.network import (
    EgressPolicy,
    EgressRule,
    IngressRule,
    Nftables,
    PortForward,
    SourceNat,
    StaticNat,
)
from systemvm.spec.types import PortRange, Protocol

ANYWHERE = ("0.0.0.0/0",)
ANY = -1


def compile_nftables(wanted: RouterInput, public: str, guest: str) -> Nftables:
    """The ruleset; `public` and `guest` are the names of the two NICs."""
    source = next((address for address in wanted.addresses if address.is_source_nat), None)
    nat = (SourceNat(network=wanted.network.cidr, interface=public, public=source.address),) if source else ()
    return Nftables(
        source_nat=nat,
        static_nat=tuple(
            StaticNat(id=address.id, public=address.address, private=address.vm_address)
            for address in wanted.addresses
            if address.vm_address
        ),
        port_forwards=tuple(
            PortForward(
                id=rule.id,
                public=rule.public,
                protocol=Protocol(rule.protocol),
                public_ports=PortRange(first=rule.public_start, last=rule.public_end),
                private=rule.private,
                private_ports=PortRange(first=rule.private_start, last=rule.private_end),
            )
            for rule in wanted.forwards
        ),
        ingress=tuple(_ingress(rule) for rule in wanted.firewall),
        egress_policies=(EgressPolicy(interface=guest, allow=wanted.network.egress_allow),),
        egress=tuple(_egress(rule, guest) for rule in wanted.egress),
    )


def _ingress(rule: Firewall) -> IngressRule:
    return IngressRule(
        id=rule.id,
        public=rule.public,
        protocol=Protocol(rule.protocol),
        sources=rule.cidrs or ANYWHERE,
        ports=_ports(rule),
        icmp_type=_icmp(rule.icmp_type),
        icmp_code=_icmp(rule.icmp_code),
    )


def _egress(rule: Egress, interface: str) -> EgressRule:
    return EgressRule(
        id=rule.id,
        interface=interface,
        protocol=Protocol(rule.protocol),
        sources=rule.cidrs,
        destinations=rule.destinations or ANYWHERE,
        ports=_ports(rule),
        icmp_type=_icmp(rule.icmp_type),
        icmp_code=_icmp(rule.icmp_code),
    )


def _ports(rule: Firewall | Egress) -> PortRange | None:
    if rule.protocol not in (Protocol.tcp, Protocol.udp) or rule.start_port is None:
        return None
    return PortRange(first=rule.start_port, last=rule.end_port or rule.start_port)


def _icmp(value: int | None) -> int:
    return ANY if value is None else value
