"""A whole router from a document that mgmt compiles, seen by a guest from its first DHCP to the internet."""

import sys
import time
from pathlib import Path
from uuid import UUID

import pytest

from mgmt.desired.inputs import (
    Balancer,
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
from systemvm.spec import codec
from tests.netns.router_bench import (
    ADDRESSES,
    CONTROL_MAC,
    GATEWAY,
    GUEST_MAC,
    INTERNET,
    MACHINE,
    MACS,
    PUBLIC,
    PUBLIC_MAC,
    SECOND,
    SERVER,
    THIRD,
    RouterBench,
)
from tests.netns.topology import Machine as Box
from tests.netns.topology import eventually

pytestmark = pytest.mark.netns

#: What a minimal guest does with its lease: address, default route, resolver.
LEASE = """#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr flush dev $interface
ip link set $interface mtu $mtu
ip addr add $ip/$mask dev $interface
ip route replace default via $router
echo "$ip $router $dns $domain $hostname"
"""
HELLO = """
import http.server, sys
class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{sys.argv[1]} sees {self.client_address[0]}".encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
server = http.server.ThreadingHTTPServer(("0.0.0.0", 80), Hello)
print("ready", flush=True)
server.serve_forever()
"""


def uuid(number: int) -> str:
    return str(UUID(int=number))


def guest(name: str, number: int) -> Guest:
    return Guest(
        vm_id=uuid(number),
        hostname=f"vm-{name}",
        mac=MACS[name],
        address=ADDRESSES[name],
        is_default=True,
        offering="Small",
        zone="zone1",
        instance_name=f"i-2-{number}-VM",
        cloud_domain="/",
        cloud_domain_id=uuid(9),
        public_keys=(f"ssh-ed25519 AAAA {name}",),
        user_data="IyEvYmluL3NoCg==",
        password_id=uuid(100 + number),
        password=f"Passw0rd-{name}",
    )


def public(number: int, address: str, **changes: object) -> PublicAddress:
    fields = {"netmask": "255.255.255.0", "gateway": INTERNET, **changes}
    return PublicAddress(id=uuid(number), address=address, **fields)  # type: ignore[arg-type]


WANTED = RouterInput(
    machine=Machine(id=MACHINE, name="r-4-VM", generation=1),
    links=(
        Link(mac=CONTROL_MAC, purpose="linklocal"),
        Link(mac=PUBLIC_MAC, purpose="public"),
        Link(mac=GUEST_MAC, purpose="guest"),
    ),
    network=GuestNetwork(
        id=uuid(2), cidr="10.1.1.0/24", gateway=GATEWAY, domain="cs2cloud.internal", egress_allow=True
    ),
    cloud_id=uuid(3),
    addresses=(
        public(51, PUBLIC, is_source_nat=True),
        public(52, SECOND, vm_address=ADDRESSES["b"]),
        public(53, THIRD),
    ),
    guests=(guest("a", 11), guest("b", 12)),
    firewall=tuple(
        Firewall(id=uuid(60 + i), public=address, protocol="tcp", cidrs=(), start_port=port)
        for i, (address, port) in enumerate(((PUBLIC, 8080), (SECOND, 80), (THIRD, 80)))
    ),
    forwards=(
        Forward(
            id=uuid(71),
            public=PUBLIC,
            protocol="tcp",
            public_start=8080,
            public_end=8080,
            private=ADDRESSES["a"],
            private_start=80,
            private_end=80,
        ),
    ),
    balancers=(
        Balancer(
            id=uuid(81),
            public=THIRD,
            public_port=80,
            private_port=80,
            algorithm="roundrobin",
            members=((uuid(82), ADDRESSES["a"]), (uuid(83), ADDRESSES["b"])),
        ),
    ),
)


def get(machine: Box, url: str, *options: str) -> str:
    return machine.run("curl", "-sf", "-m", "4", *options, f"http://{url}", check=False).stdout


def serve(machine: Box, name: str) -> None:
    server = machine.start(sys.executable, "-c", HELLO, name)
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"


def test_a_guests_first_minute(bench: RouterBench, tmp_path: Path) -> None:
    script = tmp_path / "lease.sh"
    script.write_text(LEASE)
    script.chmod(0o755)
    for each in bench.guests.values():
        each.machine.run("ip", "addr", "flush", "dev", "eth0")
    started = time.monotonic()
    with bench.router.entered():
        outcome = bench.engine.apply(codec.encode(compile_router(WANTED)))
    print(f"whole router applied and proven in {time.monotonic() - started:.2f} s")
    assert outcome.result == "applied"
    for name, each in bench.guests.items():
        told = each.machine.run(
            "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-O", "mtu", "-s", str(script)
        ).stdout
        assert f"{ADDRESSES[name]} {GATEWAY} {GATEWAY} cs2cloud.internal vm-{name}" in told
        serve(each.machine, f"vm-{name}")
    serve(bench.internet, "internet")
    a, b = (bench.guests[name].machine for name in ("a", "b"))
    # Names, metadata, password.
    assert a.run("dig", "+short", f"@{GATEWAY}", "vm-b.cs2cloud.internal").stdout == "10.1.1.11\n"
    assert get(a, "169.254.169.254/latest/meta-data/instance-id") == uuid(11)
    assert get(b, f"{GATEWAY}/latest/meta-data/public-ipv4") == SECOND
    assert get(b, f"{GATEWAY}:8080", "-H", "DomU_Request: send_my_password") == "Passw0rd-b"
    # Out: by source NAT, and by static NAT.
    assert get(a, SERVER) == f"internet sees {PUBLIC}"
    assert get(b, SERVER) == f"internet sees {SECOND}"
    # In: by port forwarding, static NAT and balancer; each other port is closed.
    assert get(bench.internet, f"{PUBLIC}:8080") == f"vm-a sees {INTERNET}"
    assert get(bench.internet, SECOND) == f"vm-b sees {INTERNET}"
    both = {"vm-a sees 10.1.1.1", "vm-b sees 10.1.1.1"}
    # The balancer was there before its members served: its next checks bring them in.
    eventually(lambda: {get(bench.internet, THIRD) for _ in range(6)} == both, "both are balanced to", 15)
    assert get(bench.internet, PUBLIC) == ""
    assert get(bench.internet, f"{SECOND}:8080") == ""
    # To the own public addresses, from inside.
    assert get(b, f"{PUBLIC}:8080") == "vm-a sees 10.1.1.1"
    assert get(a, THIRD).endswith("sees 10.1.1.1")
    assert bench.unhealthy() == []


def test_it_serves_again_after_the_daemons_died(bench: RouterBench) -> None:
    with bench.router.entered():
        bench.engine.apply(codec.encode(compile_router(WANTED)))
        for name in ("dnsmasq", "metadata", "haproxy"):
            bench.doors.daemons.stop(name)
        bench.router.run("nft", "flush", "ruleset")
        bench.router.run("ip", "addr", "flush", "dev", "guest0")
        assert bench.unhealthy()
        bench.engine.recover()
    eventually(lambda: bench.unhealthy() == [], "all is as the document says", seconds=20)
