"""haproxy between a client and three servers, each in a namespace of its own."""

import collections
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from uuid import UUID

import msgspec
import pytest

from systemvm.services.haproxy import SERVICE
from systemvm.services.haproxy.reads import READS
from systemvm.spec.network import Algorithm, Balancer, Haproxy, Interfaces, Member, Nic
from systemvm.spec.state import State
from systemvm.spec.types import Purpose, Role
from tests.netns.putting import Installed, install
from tests.netns.topology import Machine, Topology, eventually

pytestmark = pytest.mark.netns

PUBLIC, ROUTER, PORT = "198.51.100.1", "10.1.1.1", 80
SERVER = """
import socketserver, sys
class Answer(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(sys.argv[1].encode())
        if self.request.recv(1):
            self.request.sendall(sys.argv[1].encode())
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads, request_queue_size = True, True, 128
Server(("0.0.0.0", 8080), Answer).serve_forever()
"""


@dataclass
class Lab:
    client: Machine
    haproxy: Installed
    members: tuple[Member, ...]
    servers: list[Machine]


def uuid(number: int) -> str:
    return str(UUID(int=number))


def state_of(*balancers: Balancer, generation: int = 1) -> State:
    nics = (
        Nic(mac="02:00:00:00:00:01", name="eth1", purpose=Purpose.public, addresses=(f"{PUBLIC}/24",)),
        Nic(mac="02:00:00:00:00:02", name="eth2", purpose=Purpose.guest, addresses=(f"{ROUTER}/24",)),
    )
    return State(
        generation=generation,
        machine=uuid(1),
        role=Role.router,
        hostname="r-1",
        interfaces=Interfaces(nics=nics),
        haproxy=Haproxy(balancers=balancers),
    )


def balancer(members: tuple[Member, ...], algorithm: Algorithm = Algorithm.roundrobin) -> Balancer:
    return Balancer(id=uuid(100), address=PUBLIC, port=PORT, algorithm=algorithm, members=members)


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Topology() as topology:
        client, router = topology.machine("client"), topology.machine("router")
        lan = topology.switch("lan")
        topology.wire(client, "eth0", router, "eth1")
        topology.plug(router, "eth2", lan)
        client.run("ip", "addr", "add", "198.51.100.9/24", "dev", "eth0")
        router.run("ip", "addr", "add", f"{PUBLIC}/24", "dev", "eth1")
        router.run("ip", "addr", "add", f"{ROUTER}/24", "dev", "eth2")
        servers, members = [], []
        for number in (11, 12, 13):
            server = topology.machine(f"s{number}")
            topology.plug(server, "eth0", lan)
            server.run("ip", "addr", "add", f"10.1.1.{number}/24", "dev", "eth0")
            server.start("python3", "-c", SERVER, f"s{number}")
            servers.append(server)
            members.append(Member(id=uuid(number), address=f"10.1.1.{number}", port=8080))
        for member in members:
            eventually(partial(reaches, router, member.address, 8080), "a server listens")
        yield Lab(client, install(SERVICE, router), tuple(members), servers)


def ask(machine: Machine, address: str = PUBLIC, port: int = PORT) -> str:
    """Who answers a new connection from inside a machine."""
    with machine.entered(), socket.create_connection((address, port), timeout=5) as connection:
        return connection.recv(16).decode()


def reaches(machine: Machine, address: str, port: int) -> bool:
    try:
        return bool(ask(machine, address, port))
    except OSError:
        return False


def test_round_robin_reaches_every_member_equally(lab: Lab) -> None:
    state = state_of(balancer(lab.members))
    lab.haproxy.put(state)
    answers = collections.Counter(ask(lab.client) for _ in range(30))
    assert answers == {"s11": 10, "s12": 10, "s13": 10}
    assert lab.haproxy.unhealthy(state) == []
    with lab.haproxy.machine.entered():
        (read,) = READS["balancers"](lab.haproxy.doors)
    assert read["connections"] >= 30
    assert {member["state"] for member in read["members"]} == {"up"}, read


def test_source_keeps_a_client_on_one_member(lab: Lab) -> None:
    lab.haproxy.put(state_of(balancer(lab.members, Algorithm.source)))
    assert len({ask(lab.client) for _ in range(12)}) == 1


@pytest.mark.parametrize(("source", "served"), [("198.51.100.0/24", True), ("192.0.2.0/24", False)])
def test_only_clients_of_its_sources_are_served(lab: Lab, source: str, served: bool) -> None:
    wanted = msgspec.structs.replace(balancer(lab.members), sources=("203.0.113.0/24", source))
    lab.haproxy.put(state_of(wanted))
    assert reaches(lab.client, PUBLIC, PORT) is served


def test_a_removed_member_gets_nothing_more_and_without_members_connections_are_refused(lab: Lab) -> None:
    lab.haproxy.put(state_of(balancer(lab.members)))
    lab.haproxy.put(state_of(balancer(lab.members[1:]), generation=2))
    assert {ask(lab.client) for _ in range(12)} == {"s12", "s13"}
    empty = state_of(balancer(()), generation=3)
    lab.haproxy.put(empty)
    with pytest.raises(ConnectionRefusedError):
        ask(lab.client)
    assert lab.haproxy.probe(empty) == []


def test_a_dead_member_is_left_out_told_and_remembered_over_a_reload(lab: Lab) -> None:
    state = state_of(balancer(lab.members))
    lab.haproxy.put(state)
    lab.servers[0].run("ip", "link", "set", "eth0", "down")

    def members() -> str:
        return next(result.message for result in lab.haproxy.probe(state) if result.name == "members")

    eventually(lambda: members().startswith("1 of 3 members are down"), "the check finds it", seconds=25)
    assert lab.haproxy.unhealthy(state) == []
    assert {ask(lab.client) for _ in range(8)} == {"s12", "s13"}
    other = Balancer(id=uuid(101), address=PUBLIC, port=81, members=lab.members[1:])
    state = state_of(balancer(lab.members), other, generation=2)
    lab.haproxy.put(state)
    assert members().startswith("1 of 5 members are down")
    assert {ask(lab.client) for _ in range(8)} == {"s12", "s13"}


def test_reloads_under_load_drop_no_connection(lab: Lab) -> None:
    lab.haproxy.put(state_of(balancer(lab.members)))
    stop, counts, errors = threading.Event(), [0] * 4, []

    def hammer(index: int) -> None:
        with lab.client.entered():
            while not stop.is_set():
                try:
                    with socket.create_connection((PUBLIC, PORT), timeout=5) as connection:
                        assert connection.recv(16).startswith(b"s1")
                    counts[index] += 1
                except (OSError, AssertionError) as error:
                    errors.append(repr(error))

    with lab.client.entered():
        long_lived = socket.create_connection((PUBLIC, PORT), timeout=5)
        first = long_lived.recv(16)
    threads = [threading.Thread(target=hammer, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for generation in range(2, 8):
        extra = Balancer(id=uuid(200), address=PUBLIC, port=8000 + generation, members=lab.members)
        lab.haproxy.put(state_of(balancer(lab.members), extra, generation=generation))
        assert reaches(lab.client, PUBLIC, 8000 + generation)
        time.sleep(0.3)
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sum(counts) > 200
    # One that was open all the time still goes to the server it began with.
    long_lived.sendall(b"?")
    assert long_lived.recv(16) == first
    long_lived.close()


def test_a_taken_port_fails_the_apply_and_the_old_configuration_serves_on(lab: Lab) -> None:
    lab.haproxy.put(state_of(balancer(lab.members)))
    script = "import socket,time; s=socket.create_server(('198.51.100.1',99)); time.sleep(60)"
    lab.haproxy.machine.start("python3", "-c", script)
    eventually(lambda: not can_listen(lab.haproxy.machine, 99), "the port is taken")
    other = Balancer(id=uuid(101), address=PUBLIC, port=99, members=lab.members)
    with pytest.raises(Exception, match=r"198\.51\.100\.1:99"):
        lab.haproxy.put(state_of(balancer(lab.members), other, generation=2))
    assert ask(lab.client) in {"s11", "s12", "s13"}
    lab.haproxy.put(state_of(balancer(lab.members[1:]), generation=3))
    assert {ask(lab.client) for _ in range(8)} == {"s12", "s13"}


def can_listen(machine: Machine, port: int) -> bool:
    with machine.entered():
        try:
            socket.create_server((PUBLIC, port)).close()
        except OSError:
            return False
    return True


def test_a_thousand_balancers(lab: Lab) -> None:
    many = tuple(
        Balancer(id=uuid(1000 + number), address=PUBLIC, port=10000 + number, members=lab.members)
        for number in range(1000)
    )
    state = state_of(*many)
    started = time.monotonic()
    lab.haproxy.put(state)
    seconds = time.monotonic() - started
    assert lab.haproxy.unhealthy(state) == []
    assert {ask(lab.client, port=10000 + number) for number in (0, 499, 999)} <= {"s11", "s12", "s13"}
    print(f"1000 balancers of 3 members: applied in {seconds:.2f} s")
    assert seconds < 10
