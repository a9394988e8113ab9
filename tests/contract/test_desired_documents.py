"""What the management server compiles, the machines accept: every service checks and renders it."""

from uuid import UUID

import msgspec
import pytest

from mgmt.desired.inputs import (
    Balancer,
    Egress,
    Firewall,
    Forward,
    Guest,
    GuestNetwork,
    Link,
    Machine,
    PublicAddress,
    RouterInput,
)
from mgmt.desired.router import compile_router
from systemvm.engine.registry import ServicePackage, sections_of
from systemvm.spec import codec
from systemvm.spec.state import State
from systemvm.spec.types import Problem

pytestmark = pytest.mark.contract
SERVICES = ServicePackage("systemvm.services")


def uuid(number: int) -> str:
    return str(UUID(int=number))


def guest(number: int) -> Guest:
    return Guest(
        vm_id=uuid(1000 + number),
        hostname=f"vm-{number}",
        mac=f"02:00:00:00:01:{number:02x}",
        address=f"10.1.1.{number}",
        is_default=number % 2 == 0,
        offering="Small Instance",
        zone="zone 1",
        instance_name=f"i-2-{number}-VM",
        cloud_domain="/",
        cloud_domain_id=uuid(5),
        public_keys=("ssh-ed25519 AAAA one", "ssh-rsa BBBB two"),
        user_data="IyEvYmluL3NoCg==",
        password_id=uuid(2000 + number),
        password="a Passw0rd: 'quoted'",
    )


def address(number: int, **changes: object) -> PublicAddress:
    fields = {"netmask": "255.255.255.0", "gateway": "203.0.113.1", **changes}
    return PublicAddress(id=uuid(100 + number), address=f"203.0.113.{number}", **fields)  # type: ignore[arg-type]


ROUTER = RouterInput(
    machine=Machine(id=uuid(1), name="r-1-VM", generation=7),
    links=(
        Link(mac="02:00:00:00:00:01", purpose="linklocal"),
        Link(mac="02:00:00:00:00:02", purpose="public"),
        Link(mac="02:00:00:00:00:03", purpose="guest"),
    ),
    network=GuestNetwork(
        id=uuid(2), cidr="10.1.1.0/24", gateway="10.1.1.1", domain="cs2cloud.internal", dns=("192.0.2.53",)
    ),
    cloud_id=uuid(3),
    addresses=(address(6, vm_address="10.1.1.12"), address(5, is_source_nat=True), address(7)),
    guests=tuple(guest(number) for number in range(10, 20)),
    firewall=(
        Firewall(id=uuid(11), public="203.0.113.5", protocol="tcp", cidrs=(), start_port=22, end_port=80),
        Firewall(id=uuid(12), public="203.0.113.5", protocol="tcp", cidrs=("192.0.2.0/24",), start_port=22),
        Firewall(id=uuid(13), public="203.0.113.6", protocol="icmp", cidrs=(), icmp_type=-1, icmp_code=-1),
        Firewall(id=uuid(14), public="203.0.113.6", protocol="all", cidrs=("0.0.0.0/0",)),
    ),
    egress=(
        Egress(id=uuid(21), protocol="tcp", cidrs=("10.1.1.0/24",), start_port=80, end_port=443),
        Egress(id=uuid(22), protocol="icmp", cidrs=(), icmp_type=8, icmp_code=0),
        Egress(id=uuid(23), protocol="all", cidrs=(), destinations=("198.51.100.0/24",)),
    ),
    forwards=(
        Forward(
            id=uuid(31), public="203.0.113.5", protocol="tcp",
            public_start=2222, public_end=2222, private="10.1.1.10", private_start=22, private_end=22,
        ),
        Forward(
            id=uuid(32), public="203.0.113.5", protocol="udp",
            public_start=5000, public_end=5009, private="10.1.1.11", private_start=5000, private_end=5009,
        ),
    ),
    balancers=(
        Balancer(
            id=uuid(41), public="203.0.113.7", public_port=80, private_port=8080, algorithm="roundrobin",
            members=((uuid(42), "10.1.1.10"), (uuid(43), "10.1.1.11")),
        ),
    ),
)  # fmt: skip


def problems_of(state: State) -> list[Problem]:
    return [problem for name in sections_of(state) for problem in SERVICES.load(name).check(state)]


def test_a_routers_document_is_accepted_by_every_service() -> None:
    raw = codec.encode(compile_router(ROUTER))
    assert codec.problems(raw, State) == []
    state = codec.decode(raw, State)
    assert set(sections_of(state)) == {"interfaces", "nftables", "dnsmasq", "metadata", "haproxy"}
    assert problems_of(state) == []
    for name in sections_of(state):
        rendering = SERVICES.load(name).render(state)
        assert rendering.files or rendering.kernel


def test_a_network_without_anything_is_accepted_too() -> None:
    bare = RouterInput(
        machine=ROUTER.machine,
        links=ROUTER.links,
        network=ROUTER.network,
        cloud_id=ROUTER.cloud_id,
        addresses=(address(5, is_source_nat=True),),
    )
    assert problems_of(compile_router(bare)) == []


def test_a_contradiction_would_be_named() -> None:
    """The test above can fail: the same document with a forward on a static NAT address is refused."""
    state = compile_router(ROUTER)
    assert state.nftables is not None
    forward = msgspec.structs.replace(state.nftables.port_forwards[0], public="203.0.113.6")
    nftables = msgspec.structs.replace(state.nftables, port_forwards=(forward,))
    found = problems_of(msgspec.structs.replace(state, nftables=nftables))
    assert [problem.path for problem in found] == ["nftables.port_forwards[0].public"]
