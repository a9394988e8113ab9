"""Real connections through the router, by every way a tenant can open or close."""

import json
import subprocess
import sys
import time
from typing import Any

import msgspec
import pytest

from systemvm.services.nftables.reads import READS
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
from tests.netns.router_bench import PUBLIC, SECOND, SERVER, THIRD, RouterBench, interfaces
from tests.netns.topology import Machine, eventually

pytestmark = pytest.mark.netns

#: Answers each connection, or datagram, with the address it came from; then echoes what it gets.
ECHO = """
import socket, socketserver, sys
class Tcp(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall((self.client_address[0] + "\\n").encode())
        while data := self.request.recv(100):
            self.request.sendall(data)
socketserver.ThreadingTCPServer.allow_reuse_address = True
server = socketserver.ThreadingTCPServer(("0.0.0.0", int(sys.argv[1])), Tcp)
server.daemon_threads = True
print("ready", flush=True)
server.serve_forever()
"""
#: Connects, prints who the server says it is; then sends a word for each line on its standard input.
CALL = """
import socket, sys
try:
    call = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=float(sys.argv[3]))
except OSError as error:
    print(f"failed: {error}", flush=True); sys.exit(1)
print(call.recv(100).decode().strip(), flush=True)
for line in sys.stdin:
    try:
        call.sendall(line.encode()); print(call.recv(100).decode().strip() or "closed", flush=True)
    except OSError as error:
        print(f"failed: {error}", flush=True)
"""
EVERYONE = PortRange(first=1, last=65535)


def serve(machine: Machine, port: int) -> None:
    server = machine.start(sys.executable, "-c", ECHO, str(port))
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"


def call(machine: Machine, address: str, port: int, seconds: float = 1.0) -> str:
    """Whom the server saw; empty when there was no connection."""
    done = machine.run(sys.executable, "-c", CALL, address, str(port), str(seconds), check=False)
    return "" if done.returncode else done.stdout.strip()


def hold(machine: Machine, address: str, port: int) -> subprocess.Popen[str]:
    """A connection that stays open; `say` uses it."""
    held = machine.start(sys.executable, "-c", CALL, address, str(port), "2")
    assert held.stdout is not None
    assert not held.stdout.readline().startswith("failed")
    return held


def say(held: subprocess.Popen[str], word: str) -> str:
    assert held.stdin is not None
    assert held.stdout is not None
    held.stdin.write(f"{word}\n")
    held.stdin.flush()
    return held.stdout.readline().strip()


def uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def ports(first: int, last: int = 0) -> PortRange:
    return PortRange(first=first, last=last or first)


def forward(number: int, public: int, private: int, guest: str = "10.1.1.10", count: int = 1) -> PortForward:
    return PortForward(
        id=uuid(number),
        public=PUBLIC,
        protocol=Protocol.tcp,
        public_ports=ports(public, public + count - 1),
        private=guest,
        private_ports=ports(private, private + count - 1),
    )


def ingress(number: int, first: int, last: int = 0, public: str = PUBLIC, **changes: Any) -> IngressRule:
    return IngressRule(
        id=uuid(number), public=public, protocol=Protocol.tcp, ports=ports(first, last), **changes
    )


def section(**changes: Any) -> Nftables:
    """Source NAT, and egress allowed."""
    return Nftables(
        **{
            "source_nat": (SourceNat(network="10.1.1.0/24", interface="eth1", public=PUBLIC),),
            "egress_policies": (EgressPolicy(interface="eth2", allow=True),),
            **changes,
        }
    )


def test_source_nat_out_and_nothing_in(bench: RouterBench) -> None:
    serve(bench.internet, 80)
    guest = bench.guests["a"].machine
    serve(guest, 80)
    bench.put(nftables=section())
    assert call(guest, SERVER, 80) == PUBLIC
    assert guest.answers("ping", "-c1", "-W2", SERVER)
    # Nothing is open from outside: neither the router itself, nor a guest by its private address.
    assert call(bench.internet, PUBLIC, 80) == ""
    assert not bench.internet.answers("ping", "-c1", "-W1", PUBLIC)
    bench.internet.run("ip", "route", "add", "10.1.1.0/24", "via", PUBLIC)
    assert call(bench.internet, "10.1.1.10", 80) == ""
    # The host of the control network reaches the agent's port, and guests do not.
    serve(bench.router, 8443)
    assert call(bench.host, "169.254.7.7", 8443) == "169.254.0.1"
    assert call(guest, "169.254.7.7", 8443) == ""
    assert call(guest, "10.1.1.1", 8443) == ""
    assert call(bench.internet, PUBLIC, 8443) == ""
    assert not guest.answers("ping", "-c1", "-W1", "169.254.7.7")


def test_port_forward_needs_an_ingress_rule_and_ends_with_it(bench: RouterBench) -> None:
    serve(bench.guests["a"].machine, 8080)
    forwards = (forward(1, 80, 8080),)
    bench.put(nftables=section(port_forwards=forwards))
    assert call(bench.internet, PUBLIC, 80) == ""
    rules = (ingress(2, 80),)
    bench.put(nftables=section(port_forwards=forwards, ingress=rules))
    assert call(bench.internet, PUBLIC, 80) == "203.0.113.1"
    held = hold(bench.internet, PUBLIC, 80)
    assert say(held, "before") == "before"
    # A change elsewhere leaves the connection alone.
    bench.put(nftables=section(port_forwards=forwards, ingress=(*rules, ingress(3, 443))))
    assert say(held, "still") == "still"
    bench.put(nftables=section(port_forwards=forwards))
    assert call(bench.internet, PUBLIC, 80) == ""
    assert say(held, "after").startswith("failed")


def test_ingress_judges_the_source_and_the_public_port(bench: RouterBench) -> None:
    serve(bench.guests["a"].machine, 8080)
    other = (ingress(2, 80, sources=("192.0.2.0/24",)),)
    forwards = (forward(1, 80, 8080),)
    bench.put(nftables=section(port_forwards=forwards, ingress=other))
    assert call(bench.internet, PUBLIC, 80) == ""
    private_port = (ingress(2, 8080),)
    bench.put(nftables=section(port_forwards=forwards, ingress=private_port))
    assert call(bench.internet, PUBLIC, 80) == ""
    both = (ingress(2, 80, 90, sources=("192.0.2.0/24",)), ingress(3, 70, 85, sources=("203.0.113.0/24",)))
    bench.put(nftables=section(port_forwards=forwards, ingress=both))
    assert call(bench.internet, PUBLIC, 80) == "203.0.113.1"


def test_forwarded_ranges_keep_or_shift_their_ports(bench: RouterBench) -> None:
    guest = bench.guests["b"].machine
    for port in (1002, 2003):
        serve(guest, port)
    forwards = (forward(1, 1000, 1000, "10.1.1.11", 10), forward(2, 3000, 2000, "10.1.1.11", 10))
    bench.put(nftables=section(port_forwards=forwards, ingress=(ingress(3, 1000, 4000),)))
    assert call(bench.internet, PUBLIC, 1002) == "203.0.113.1"
    assert call(bench.internet, PUBLIC, 3003) == "203.0.113.1"
    assert call(bench.internet, PUBLIC, 2003) == ""


def test_moved_port_forward_ends_connections_to_the_old_guest(bench: RouterBench) -> None:
    for guest in bench.guests.values():
        serve(guest.machine, 80)
    rules = (ingress(2, 80),)
    bench.put(nftables=section(port_forwards=(forward(1, 80, 80),), ingress=rules))
    held = hold(bench.internet, PUBLIC, 80)
    bench.put(nftables=section(port_forwards=(forward(1, 80, 80, "10.1.1.11"),), ingress=rules))
    assert say(held, "x") in ("closed", "failed: [Errno 104] Connection reset by peer")
    assert call(bench.internet, PUBLIC, 80) == "203.0.113.1"


def test_static_nat_both_ways(bench: RouterBench) -> None:
    serve(bench.internet, 80)
    guest = bench.guests["b"].machine
    serve(guest, 22)
    static = (StaticNat(id=uuid(1), public=SECOND, private="10.1.1.11"),)
    bench.put(nftables=section(static_nat=static))
    assert call(guest, SERVER, 80) == SECOND
    assert call(bench.guests["a"].machine, SERVER, 80) == PUBLIC
    assert call(bench.internet, SECOND, 22) == ""
    bench.put(nftables=section(static_nat=static, ingress=(ingress(2, 22, public=SECOND),)))
    assert call(bench.internet, SECOND, 22) == "203.0.113.1"
    assert call(bench.internet, THIRD, 22) == ""
    held = hold(guest, SERVER, 80)
    bench.put(nftables=section())
    assert call(guest, SERVER, 80) == PUBLIC
    assert say(held, "x").startswith("failed")


def test_egress_denied_with_exceptions_and_allowed_with_exceptions(bench: RouterBench) -> None:
    for port in (80, 25):
        serve(bench.internet, port)
    guest, other = bench.guests["a"].machine, bench.guests["b"].machine
    deny = (EgressPolicy(interface="eth2", allow=False),)
    mail = EgressRule(id=uuid(1), interface="eth2", protocol=Protocol.tcp, ports=ports(25))
    bench.put(nftables=section())
    held = hold(guest, SERVER, 80)
    bench.put(nftables=section(egress_policies=deny))
    assert call(guest, SERVER, 80) == ""
    assert say(held, "x").startswith("failed")
    assert not guest.answers("ping", "-c1", "-W1", SERVER)
    bench.put(nftables=section(egress_policies=deny, egress=(mail,)))
    assert call(guest, SERVER, 25) == PUBLIC
    assert call(guest, SERVER, 80) == ""
    bench.put(nftables=section(egress=(mail,)))
    assert call(guest, SERVER, 25) == ""
    assert call(guest, SERVER, 80) == PUBLIC
    only_a = msgspec.structs.replace(mail, sources=("10.1.1.10/32",))
    ping = EgressRule(id=uuid(2), interface="eth2", protocol=Protocol.icmp, icmp_type=8)
    elsewhere = EgressRule(
        id=uuid(3), interface="eth2", protocol=Protocol.all, destinations=("192.0.2.0/24",)
    )
    bench.put(nftables=section(egress_policies=deny, egress=(only_a, ping, elsewhere)))
    assert call(guest, SERVER, 25) == PUBLIC
    assert call(other, SERVER, 25) == ""
    assert other.answers("ping", "-c1", "-W2", SERVER)


def test_no_policy_means_no_way_out(bench: RouterBench) -> None:
    serve(bench.internet, 80)
    bench.put(nftables=section(egress_policies=()))
    assert call(bench.guests["a"].machine, SERVER, 80) == ""


def test_guests_reach_their_own_public_addresses(bench: RouterBench) -> None:
    a, b = (bench.guests[name].machine for name in ("a", "b"))
    serve(a, 80)
    serve(b, 22)
    static = (StaticNat(id=uuid(1), public=SECOND, private="10.1.1.11"),)
    rules = (ingress(2, 80), ingress(3, 22, public=SECOND))
    bench.put(nftables=section(static_nat=static, port_forwards=(forward(4, 80, 80),), ingress=rules))
    assert call(b, PUBLIC, 80) == "10.1.1.1"
    assert call(a, PUBLIC, 80) == "10.1.1.1"
    assert call(a, SECOND, 22) == "10.1.1.1"
    bench.put(nftables=section(static_nat=static, port_forwards=(forward(4, 80, 80),)))
    assert call(b, PUBLIC, 80) == ""


def test_icmp_and_all_protocols(bench: RouterBench) -> None:
    serve(bench.guests["b"].machine, 5000)
    echo = IngressRule(id=uuid(1), public=PUBLIC, protocol=Protocol.icmp, icmp_type=8, icmp_code=0)
    static = (StaticNat(id=uuid(2), public=SECOND, private="10.1.1.11"),)
    everything = IngressRule(id=uuid(3), public=SECOND, protocol=Protocol.all)
    bench.put(nftables=section(static_nat=static, ingress=(echo, everything)))
    assert bench.internet.answers("ping", "-c1", "-W2", PUBLIC)
    assert bench.internet.answers("ping", "-c1", "-W2", SECOND)
    assert not bench.internet.answers("ping", "-c1", "-W1", THIRD)
    assert call(bench.internet, SECOND, 5000) == "203.0.113.1"
    timestamp = msgspec.structs.replace(echo, icmp_type=13)
    bench.put(nftables=section(ingress=(timestamp,)))
    assert not bench.internet.answers("ping", "-c1", "-W1", PUBLIC)


def test_spoofed_sources_do_not_leave(bench: RouterBench) -> None:
    bench.put(nftables=section())
    guest = bench.guests["a"].machine
    guest.run("ip", "addr", "add", "192.0.2.66/32", "dev", "lo")
    capture = bench.internet.start("tcpdump", "-lni", "eth0", "-c", "1", "host", "192.0.2.66")
    time.sleep(1)
    assert not guest.answers("ping", "-c2", "-W1", "-I", "192.0.2.66", SERVER)
    assert capture.poll() is None


def test_usage_is_counted_per_public_address_and_survives_changes(bench: RouterBench) -> None:
    serve(bench.guests["a"].machine, 80)
    forwards, rules = (forward(1, 80, 80),), (ingress(2, 80),)
    bench.put(nftables=section(port_forwards=forwards, ingress=rules))
    held = hold(bench.internet, PUBLIC, 80)
    say(held, "x" * 90)

    def counted() -> dict[str, dict[str, int]]:
        with bench.router.entered():
            return {row["address"]: row for row in READS["usage"](bench.doors)}

    first = counted()[PUBLIC]
    assert first["received_bytes"] > 300
    assert first["sent_bytes"] > 300
    bench.put(nftables=section(port_forwards=forwards, ingress=(*rules, ingress(3, 81))))
    say(held, "y" * 90)
    second = counted()[PUBLIC]
    assert second["received_bytes"] > first["received_bytes"]
    assert second["sent_bytes"] > first["sent_bytes"]
    assert THIRD not in counted() or counted()[THIRD]["received_bytes"] == 0


def test_probe_tells_a_replaced_ruleset(bench: RouterBench) -> None:
    bench.put(nftables=section())
    assert bench.unhealthy() == []
    bench.router.run("nft", "flush", "chain", "inet", "pileus", "input")
    bench.router.run("nft", "delete", "table", "inet", "pileus")
    words = " ".join(bench.unhealthy())
    assert "is not loaded" in words
    assert "filter input" in words


def test_off_removes_the_tables(bench: RouterBench) -> None:
    bench.put(nftables=section())
    bench.put()
    assert bench.router.run("nft", "list", "tables").stdout == ""


def test_ten_thousand_rules_in_one_transaction(bench: RouterBench) -> None:
    count = 10_000
    forwards = tuple(
        msgspec.structs.replace(
            forward(i, 1, 1),
            public_ports=ports(1000 + i),
            private=f"10.1.1.{i % 250 + 2}",
            private_ports=ports(80),
        )
        for i in range(count // 2)
    )
    rules = tuple(
        ingress(100_000 + i, 1000 + i * 2, sources=(f"10.{i % 200}.0.0/16", "192.0.2.0/24"))
        for i in range(count // 2)
    )
    started = time.monotonic()
    bench.put(nftables=section(port_forwards=forwards, ingress=rules))
    seconds = time.monotonic() - started
    started = time.monotonic()
    bench.put(nftables=section(port_forwards=forwards, ingress=rules[:-1]))
    again = time.monotonic() - started
    listed = json.loads(bench.router.run("nft", "-j", "list", "table", "inet", "pileus").stdout)["nftables"]
    sizes = {
        item[kind]["name"]: len(item[kind].get("elem", ()))
        for item in listed
        for kind in item
        if kind in ("set", "map")
    }
    assert sizes["forwards"] == count // 2
    assert sizes["ingress-ports"] == (count // 2 - 1) * 2
    assert len([item for item in listed if "rule" in item]) < 40
    print(f"{count} rules: first apply {seconds:.2f} s, change of one {again:.2f} s")
    assert seconds < 20
    assert again < 20


def test_router_serves_established_connections_during_a_change(bench: RouterBench) -> None:
    serve(bench.internet, 80)
    guest = bench.guests["a"].machine
    bench.put(nftables=section())
    held = hold(guest, SERVER, 80)
    for i in range(5):
        bench.put(nftables=section(ingress=(ingress(i + 1, 100 + i),)))
        assert say(held, f"word{i}") == f"word{i}"
    eventually(lambda: call(guest, SERVER, 80) == PUBLIC, "new connections pass too", seconds=2)


def test_segments_fit_the_narrowest_link(bench: RouterBench) -> None:
    serve(bench.internet, 80)
    public, guest = interfaces().nics
    nics = (public, msgspec.structs.replace(guest, mtu=1400))
    bench.put(interfaces=interfaces(nics=nics), nftables=section())
    held = hold(bench.guests["a"].machine, SERVER, 80)
    # Both ends believe in 1500 bytes; neither sends more than fits: 1400 less 40 of headers, or 12 more for
    # timestamps.
    seen = bench.internet.run("ss", "-tinH", "state", "established", "sport", "=", ":80").stdout
    assert "mss:1348" in seen or "mss:1360" in seen, seen
    assert say(held, "x" * 80) == "x" * 80


def test_the_control_network_is_no_way_to_guests(bench: RouterBench) -> None:
    serve(bench.guests["a"].machine, 8080)
    bench.put(nftables=section(port_forwards=(forward(1, 80, 8080),), ingress=(ingress(2, 80),)))
    assert call(bench.internet, PUBLIC, 80) == "203.0.113.1"
    bench.host.run("ip", "route", "add", "203.0.113.0/24", "via", "169.254.7.7")
    bench.host.run("ip", "route", "add", "10.1.1.0/24", "via", "169.254.7.7")
    assert call(bench.host, PUBLIC, 80) == ""
    assert call(bench.host, "10.1.1.10", 8080) == ""
    bench.guests["a"].machine.run("ip", "route", "add", "169.254.0.0/16", "via", "10.1.1.1")
    serve(bench.host, 9000)
    assert call(bench.guests["a"].machine, "169.254.0.1", 9000) == ""
