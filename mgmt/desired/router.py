"""The document of an isolated network's router. Linear in guests and rules."""

from mgmt.desired.inputs import Link, RouterInput
from mgmt.desired.links import DEFAULT, cidr, link_name, prefix_length
from mgmt.desired.metadata import compile_metadata
from mgmt.desired.nat import compile_nftables
from systemvm.spec.network import (
    Algorithm,
    Balancer,
    DhcpHost,
    DhcpSubnet,
    Dnsmasq,
    Haproxy,
    Interfaces,
    Member,
    Nic,
    Route,
)
from systemvm.spec.state import State
from systemvm.spec.types import Purpose, Role

PUBLIC = link_name(Purpose.public)
GUEST = link_name(Purpose.guest)


def compile_router(wanted: RouterInput) -> State:
    """Everything the router of one network should be."""
    return State(
        generation=wanted.machine.generation,
        machine=wanted.machine.id,
        role=Role.router,
        hostname=wanted.machine.name,
        interfaces=_interfaces(wanted),
        nftables=compile_nftables(wanted, PUBLIC, GUEST),
        dnsmasq=_dnsmasq(wanted),
        metadata=compile_metadata(wanted, GUEST),
        haproxy=_haproxy(wanted),
    )


def _interfaces(wanted: RouterInput) -> Interfaces:
    # The source NAT address is the primary one: it answers when nothing else says who speaks.
    ordered = sorted(wanted.addresses, key=lambda public: not public.is_source_nat)
    bits = prefix_length(wanted.network.cidr.partition("/")[2])
    nics = (
        Nic(
            mac=_link(wanted, Purpose.public).mac,
            name=PUBLIC,
            purpose=Purpose.public,
            addresses=tuple(cidr(public.address, public.netmask) for public in ordered),
        ),
        Nic(
            mac=_link(wanted, Purpose.guest).mac,
            name=GUEST,
            purpose=Purpose.guest,
            addresses=(f"{wanted.network.gateway}/{bits}",),
            mtu=wanted.network.mtu,
        ),
    )
    routes = tuple(
        Route(destination=DEFAULT, gateway=public.gateway, interface=PUBLIC) for public in ordered[:1]
    )
    return Interfaces(nics=nics, routes=routes, forwarding=True)


def _link(wanted: RouterInput, purpose: Purpose) -> Link:
    return next(link for link in wanted.links if link.purpose == purpose)


def _dnsmasq(wanted: RouterInput) -> Dnsmasq:
    network = wanted.network
    subnet = DhcpSubnet(
        interface=GUEST,
        network=network.cidr,
        gateway=network.gateway,
        dns=(network.gateway,),
        domain=network.domain,
        mtu=network.mtu,
    )
    hosts = tuple(
        DhcpHost(
            interface=GUEST,
            mac=guest.mac,
            address=guest.address,
            hostname=guest.hostname,
            default=guest.is_default,
        )
        for guest in wanted.guests
    )
    return Dnsmasq(subnets=(subnet,), hosts=hosts, upstream=network.dns)


def _haproxy(wanted: RouterInput) -> Haproxy | None:
    if not wanted.balancers:
        return None
    return Haproxy(
        balancers=tuple(
            Balancer(
                id=rule.id,
                address=rule.public,
                port=rule.public_port,
                algorithm=Algorithm(rule.algorithm),
                sources=rule.cidrs,
                members=tuple(
                    Member(id=member, address=address, port=rule.private_port)
                    for member, address in rule.members
                ),
            )
            for rule in wanted.balancers
        )
    )
