"""The whole router: every service of one document through the engine, seen from guests and internet."""

import signal
import sys
import time
from typing import Any
from uuid import UUID

import msgspec
import pytest

from systemvm.engine.errors import ApplyFailed, InvalidDocument
from systemvm.engine.outcome import Result
from systemvm.spec.network import (
    Balancer,
    DhcpHost,
    DhcpSubnet,
    Dnsmasq,
    EgressPolicy,
    GuestMetadata,
    GuestPassword,
    Haproxy,
    IngressRule,
    Member,
    Metadata,
    Nftables,
    PortForward,
    SourceNat,
    StaticNat,
)
from systemvm.spec.types import PortRange, Protocol
from tests.netns.router_bench import (
    ADDRESSES,
    GATEWAY,
    MACS,
    PUBLIC,
    SECOND,
    SERVER,
    THIRD,
    RouterBench,
    interfaces,
)
from tests.netns.topology import Machine, eventually

pytestmark = pytest.mark.netns

#: Answers each connection with its own name and the address it sees.
WHO = """
import socketserver, sys
class Answer(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(f"{sys.argv[1]} {self.client_address[0]}".encode())
socketserver.ThreadingTCPServer.allow_reuse_address = True
server = socketserver.ThreadingTCPServer(("0.0.0.0", int(sys.argv[2])), Answer)
print("ready", flush=True)
server.serve_forever()
"""
ASK = """
import socket, sys
try:
    call = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=2)
    print(call.recv(100).decode())
except OSError as error:
    sys.exit(f"failed: {error}")
"""
WEB, SSH = 80, 22
USER_DATA = "IyEvYmluL3NoCmVjaG8gaGVsbG8K"


def uuid(number: int) -> str:
    return str(UUID(int=number))


def ports(first: int) -> PortRange:
    return PortRange(first=first, last=first)


def ingress(number: int, public: str, port: int, *sources: str) -> IngressRule:
    return IngressRule(
        id=uuid(number),
        public=public,
        protocol=Protocol.tcp,
        ports=ports(port),
        sources=sources or ("0.0.0.0/0",),
    )


def firewall(*more: IngressRule) -> Nftables:
    """Source NAT and a port forward to a's SSH on PUBLIC, static NAT of b on SECOND, balancer on THIRD."""
    return Nftables(
        source_nat=(SourceNat(network="10.1.1.0/24", interface="eth1", public=PUBLIC),),
        static_nat=(StaticNat(id=uuid(1), public=SECOND, private=ADDRESSES["b"]),),
        port_forwards=(
            PortForward(
                id=uuid(2),
                public=PUBLIC,
                protocol=Protocol.tcp,
                public_ports=ports(2222),
                private=ADDRESSES["a"],
                private_ports=ports(SSH),
            ),
        ),
        ingress=(ingress(3, PUBLIC, 2222), ingress(4, SECOND, WEB), ingress(5, THIRD, WEB), *more),
        egress_policies=(EgressPolicy(interface="eth2", allow=True),),
    )


def dhcp_and_dns() -> Dnsmasq:
    return Dnsmasq(
        subnets=(
            DhcpSubnet(interface="eth2", network="10.1.1.0/24", gateway=GATEWAY, domain="cs1.internal"),
        ),
        hosts=tuple(
            DhcpHost(interface="eth2", mac=MACS[name], address=ADDRESSES[name], hostname=f"vm-{name}")
            for name in MACS
        ),
    )


def metadata() -> Metadata:
    return Metadata(
        interfaces=("eth2",),
        guests=(
            GuestMetadata(
                address=ADDRESSES["a"],
                user_data=USER_DATA,
                meta_data={"local-hostname": "vm-a"},
                password=GuestPassword(id=uuid(6), value="pa55word"),
            ),
            GuestMetadata(address=ADDRESSES["b"], meta_data={"local-hostname": "vm-b"}),
        ),
    )


def balancing(port: int = WEB) -> Haproxy:
    members = tuple(
        Member(id=uuid(10 + index), address=ADDRESSES[name], port=WEB) for index, name in enumerate(MACS)
    )
    return Haproxy(balancers=(Balancer(id=uuid(9), address=THIRD, port=port, members=members),))


def everything(**changes: Any) -> dict[str, Any]:
    whole = {
        "interfaces": interfaces(),
        "nftables": firewall(),
        "dnsmasq": dhcp_and_dns(),
        "metadata": metadata(),
        "haproxy": balancing(),
    }
    return {**whole, **changes}


def serve(machine: Machine, name: str, port: int) -> None:
    server = machine.start(sys.executable, "-c", WHO, name, str(port))
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"


def ask(machine: Machine, address: str, port: int) -> str:
    """Who answers, and whom it sees; empty when nobody does."""
    return machine.run(sys.executable, "-c", ASK, address, str(port), check=False).stdout.strip()


@pytest.fixture
def router(bench: RouterBench) -> RouterBench:
    """The whole document is applied, and guests and internet serve."""
    serve(bench.internet, "internet", WEB)
    for name, guest in bench.guests.items():
        serve(guest.machine, name, WEB)
        serve(guest.machine, name, SSH)
    outcome = bench.put(**everything())
    assert outcome.result is Result.applied
    assert all(probe.healthy for probe in outcome.probes)
    assert {probe.service for probe in outcome.probes} == {*everything()}
    return bench


def assert_all_served(router: RouterBench) -> None:
    """Everything that the document promises, as its users see it."""
    a, b = router.guests["a"].machine, router.guests["b"].machine
    assert ask(a, SERVER, WEB) == f"internet {PUBLIC}"
    assert ask(b, SERVER, WEB) == f"internet {SECOND}"
    assert ask(router.internet, PUBLIC, 2222).startswith("a ")
    assert ask(router.internet, SECOND, WEB).startswith("b ")
    assert ask(router.internet, SECOND, SSH) == ""
    answers = {ask(router.internet, THIRD, WEB).split(" ")[0] for _ in range(4)}
    assert answers == {"a", "b"}
    assert a.run("dig", "+short", f"@{GATEWAY}", "vm-b.cs1.internal").stdout.strip() == ADDRESSES["b"]
    assert a.run("curl", "-sf", f"http://{GATEWAY}/latest/user-data").stdout == "#!/bin/sh\necho hello\n"
    hostname = "http://169.254.169.254/latest/meta-data/local-hostname"
    assert a.run("curl", "-sf", hostname).stdout.strip() == "vm-a"
    assert b.run("curl", "-sf", hostname).stdout.strip() == "vm-b"


def test_everything_at_once(router: RouterBench) -> None:
    assert_all_served(router)
    assert router.unhealthy() == []
    again = router.put(**everything())
    assert (again.result, again.services) == (Result.unchanged, ())


def test_a_rule_more_touches_the_firewall_only(router: RouterBench) -> None:
    outcome = router.put(**everything(nftables=firewall(ingress(20, SECOND, SSH))))
    assert outcome.services == ("nftables",)
    assert ask(router.internet, SECOND, SSH).startswith("b ")
    router.put(**everything())
    assert ask(router.internet, SECOND, SSH) == ""
    assert_all_served(router)


def test_services_go_and_come(router: RouterBench) -> None:
    a = router.guests["a"].machine
    outcome = router.put(**everything(dnsmasq=None, metadata=None, haproxy=None))
    assert set(outcome.services) >= {"dnsmasq", "metadata", "haproxy"}
    assert not a.answers("dig", "+time=1", "+tries=1", f"@{GATEWAY}", "vm-b.cs1.internal")
    assert not a.answers("curl", "-sf", "-m", "2", f"http://{GATEWAY}/latest/user-data")
    assert ask(router.internet, THIRD, WEB) == ""
    assert ask(a, SERVER, WEB) == f"internet {PUBLIC}"
    left = router.router.run("find", "/etc/pileus", "-type", "f").stdout.split()
    assert {path.split("/")[3] for path in left} <= {"nftables", "interfaces"}
    router.put(**everything())
    assert_all_served(router)


def test_what_one_daemon_refuses_leaves_all_as_it_was(router: RouterBench) -> None:
    """New addresses, rules and names, but the balancer's port is taken: nothing of it stays."""
    squat = f"import socket, time; s = socket.create_server(('{THIRD}', 81)); print('up', flush=True)"
    holder = router.router.start(sys.executable, "-c", f"{squat}; time.sleep(60)")
    assert holder.stdout is not None
    assert holder.stdout.readline() == "up\n"
    before = router.router.run("find", "/etc/pileus", "-type", "f", "-exec", "sha256sum", "{}", "+").stdout
    changed = everything(
        interfaces=interfaces(public=(PUBLIC, SECOND, THIRD, "203.0.113.8")),
        nftables=firewall(ingress(20, SECOND, SSH)),
        dnsmasq=msgspec.structs.replace(dhcp_and_dns(), hosts=()),
        haproxy=balancing(port=81),
    )
    with pytest.raises(ApplyFailed, match=r"refused: haproxy: .*; generation \d+ is back"):
        router.put(**changed)
    after = router.router.run("find", "/etc/pileus", "-type", "f", "-exec", "sha256sum", "{}", "+").stdout
    assert sorted(after.splitlines()) == sorted(before.splitlines())
    assert "203.0.113.8" not in router.router.run("ip", "addr", "show", "dev", "eth1").stdout
    assert_all_served(router)
    assert router.unhealthy() == []


def test_ten_mistakes_of_five_services_get_ten_messages(router: RouterBench) -> None:
    nic = interfaces().nics[0]
    twice = msgspec.structs.replace(interfaces(), nics=(*interfaces().nics, nic))
    bad_forward = msgspec.structs.replace(firewall().port_forwards[0], id=uuid(30), private="999.1.1.1")
    wrong = everything(
        interfaces=twice,
        nftables=msgspec.structs.replace(
            firewall(ingress(31, "300.1.1.1", WEB)), port_forwards=(bad_forward,)
        ),
        dnsmasq=msgspec.structs.replace(
            dhcp_and_dns(),
            hosts=(DhcpHost(interface="eth7", mac=MACS["a"], address="10.9.9.9", hostname="vm-a"),),
        ),
        metadata=Metadata(interfaces=("eth9",), guests=(GuestMetadata(address="10.1.1.300"),)),
        haproxy=Haproxy(balancers=(Balancer(id=uuid(9), address="192.0.2.77", port=WEB),) * 2),
    )
    with pytest.raises(InvalidDocument) as caught:
        router.put(**wrong)
    paths = {problem.path for problem in caught.value.problems}
    assert {path.partition(".")[0] for path in paths} == {*everything()}
    assert len(paths) >= 10
    assert_all_served(router)


def test_ten_thousand_rules(router: RouterBench) -> None:
    """The time of an apply is printed beside one of ten rules; packets flow while it happens."""
    few = everything(nftables=firewall(*(_rule(number) for number in range(10))))
    many = everything(nftables=firewall(*(_rule(number) for number in range(10_000))))
    ping = router.guests["a"].machine.start("ping", "-n", "-i", "0.05", "-W", "2", SERVER)
    first = router.put(**few)
    second = router.put(**many)
    third = router.put(**many)
    assert (first.services, second.services) == (("nftables",), ("nftables",))
    assert third.result is Result.unchanged
    last = _rule(9_999)
    assert last.ports is not None
    serve(router.guests["b"].machine, "b", last.ports.first)
    assert ask(router.internet, SECOND, last.ports.first).startswith("b ")
    ping.send_signal(signal.SIGINT)
    printed, _ = ping.communicate()
    assert " 0% packet loss" in printed, printed[-300:]
    print(f"10 rules {first.seconds:.2f} s, 10,000 rules {second.seconds:.2f} s, again {third.seconds:.2f} s")
    assert second.seconds < 60


def _rule(number: int) -> IngressRule:
    """Each for a network and a port of its own; the last one lets everybody in."""
    source = "0.0.0.0/0" if number == 9_999 else f"100.{64 + number // 250}.{number % 250}.0/24"
    return ingress(100 + number, SECOND, 10_000 + number, source)


def test_router_serves_again_after_a_restart_of_all(router: RouterBench) -> None:
    """As after a reboot: no daemon, no rule, no address, an empty /run; only the record on disk is left."""
    machine = router.router
    daemons = machine.run("sh", "-c", "ls /run/pileus/daemons").stdout.split()
    assert daemons
    with router.router.entered():
        for name in {entry.rpartition(".")[0] for entry in daemons}:
            router.doors.daemons.stop(name)
    machine.run("nft", "flush", "ruleset")
    for link in ("eth1", "eth2"):
        machine.run("ip", "addr", "flush", "dev", link)
    machine.run("find", "/run/pileus", "-mindepth", "1", "-delete")
    assert ask(router.guests["a"].machine, SERVER, WEB) == ""
    started = time.monotonic()
    router.restart_engine()
    print(f"recovered in {time.monotonic() - started:.2f} s")
    eventually(lambda: router.unhealthy() == [], "all probes are healthy again")
    assert_all_served(router)
