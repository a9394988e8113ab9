"""A router's document with a bit of everything, for the unit tests of the router's services."""

from typing import Any

from systemvm.spec.network import (
    Balancer,
    DhcpHost,
    DhcpSubnet,
    Dnsmasq,
    EgressPolicy,
    EgressRule,
    GuestMetadata,
    GuestPassword,
    Haproxy,
    IngressRule,
    Interfaces,
    Metadata,
    Nftables,
    Nic,
    PortForward,
    Route,
    SourceNat,
    StaticNat,
)
from systemvm.spec.state import State
from systemvm.spec.types import PortRange, Problem, Protocol, Purpose, Role

EVERYONE = "0.0.0.0/0"


def uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def ports(first: int, last: int = 0) -> PortRange:
    return PortRange(first=first, last=last or first)


PUBLIC_NIC = Nic(
    mac="02:00:00:00:00:02",
    name="eth1",
    purpose=Purpose.public,
    addresses=("203.0.113.5/24", "203.0.113.6/24", "203.0.113.7/24"),
)
GUEST_NIC = Nic(
    mac="02:00:00:00:00:03", name="eth2", purpose=Purpose.guest, addresses=("10.1.1.1/24",), mtu=1450
)
INTERFACES = Interfaces(
    nics=(PUBLIC_NIC, GUEST_NIC),
    routes=(Route(destination=EVERYONE, gateway="203.0.113.1", interface="eth1"),),
    forwarding=True,
)
FORWARD = PortForward(
    id=uuid(20),
    public="203.0.113.5",
    protocol=Protocol.tcp,
    public_ports=ports(2222),
    private="10.1.1.10",
    private_ports=ports(22),
)
RANGE = PortForward(
    id=uuid(21),
    public="203.0.113.5",
    protocol=Protocol.udp,
    public_ports=ports(5000, 5010),
    private="10.1.1.11",
    private_ports=ports(5000, 5010),
)
STATIC = StaticNat(id=uuid(10), public="203.0.113.6", private="10.1.1.11")
INGRESS = IngressRule(id=uuid(30), public="203.0.113.5", protocol=Protocol.tcp, ports=ports(2222))
NFTABLES = Nftables(
    source_nat=(SourceNat(network="10.1.1.0/24", interface="eth1", public="203.0.113.5"),),
    static_nat=(STATIC,),
    port_forwards=(FORWARD, RANGE),
    ingress=(
        INGRESS,
        IngressRule(
            id=uuid(31),
            public="203.0.113.5",
            protocol=Protocol.tcp,
            ports=ports(2000, 3000),
            sources=("192.0.2.0/24", "198.51.100.0/25"),
        ),
        IngressRule(id=uuid(32), public="203.0.113.6", protocol=Protocol.icmp, icmp_type=8),
        IngressRule(id=uuid(33), public="203.0.113.6", protocol=Protocol.all, sources=("192.0.2.7/32",)),
    ),
    egress_policies=(EgressPolicy(interface="eth2", allow=True),),
    egress=(EgressRule(id=uuid(40), interface="eth2", protocol=Protocol.tcp, ports=ports(25)),),
)
SUBNET = DhcpSubnet(
    interface="eth2", network="10.1.1.0/24", gateway="10.1.1.1", domain="cs1.internal", mtu=1450
)
HOST_A = DhcpHost(interface="eth2", mac="02:00:00:00:01:0a", address="10.1.1.10", hostname="vm-a")
HOST_B = DhcpHost(
    interface="eth2", mac="02:00:00:00:01:0b", address="10.1.1.11", hostname="ignore", default=False
)
DNSMASQ = Dnsmasq(subnets=(SUBNET,), hosts=(HOST_A, HOST_B), upstream=("192.0.2.53",))
PASSWORD = GuestPassword(id=uuid(50), value='s3cret "quoted" \\')
GUEST_A = GuestMetadata(
    address="10.1.1.10",
    user_data="IyEvYmluL3NoCg==",
    meta_data={"local-hostname": "vm-a", "network/mac": "02:00:00:00:01:0a"},
    password=PASSWORD,
)
METADATA = Metadata(interfaces=("eth2",), guests=(GUEST_A, GuestMetadata(address="10.1.1.11")))
HAPROXY = Haproxy(balancers=(Balancer(id=uuid(60), address="203.0.113.7", port=80),))


def router_state(**sections: Any) -> State:
    """The whole document; give a section to replace it, None to leave it out."""
    whole: dict[str, Any] = {
        "interfaces": INTERFACES,
        "nftables": NFTABLES,
        "dnsmasq": DNSMASQ,
        "metadata": METADATA,
        "haproxy": HAPROXY,
    }
    return State(generation=1, machine=uuid(1), role=Role.router, hostname="r-1-vm", **{**whole, **sections})


def told(problems: list[Problem]) -> dict[str, str]:
    """Messages by path; several at one path are joined."""
    found: dict[str, str] = {}
    for problem in problems:
        found[problem.path] = (
            f"{found[problem.path]}; {problem.message}" if problem.path in found else problem.message
        )
    return found
