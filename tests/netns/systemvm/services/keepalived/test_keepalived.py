"""Two routers and one virtual address: one is primary, and when it dies the other takes over."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

import pytest

from systemvm.services.keepalived import SERVICE
from systemvm.services.keepalived.reads import READS
from systemvm.spec.network import Interfaces, Keepalived, Nic, VrrpInstance
from systemvm.spec.state import State
from systemvm.spec.types import Purpose, Role
from tests.netns.putting import Installed, install
from tests.netns.topology import Machine, Topology, eventually

pytestmark = pytest.mark.netns
VIRTUAL = "10.1.1.1"


@dataclass
class Pair:
    guest: Machine
    routers: tuple[Installed, Installed]
    states: tuple[State, State]

    def roles(self) -> tuple[str, str]:
        first, second = (role_of(*pair) for pair in zip(self.routers, self.states, strict=True))
        return first, second

    def holder(self) -> int:
        """Index of the one router that holds the address."""
        eventually(lambda: sorted(self.roles()) == ["backup", "primary"], "one primary, one backup", 15)
        return self.roles().index("primary")


def role_of(router: Installed, state: State) -> str:
    results = router.probe(state)
    return next(result.message for result in results if result.name == "vrrp guest").partition(":")[0]


def state_of(
    own: int, peer: int, priority: int, *, generation: int = 1, extra: tuple[str, ...] = ()
) -> State:
    nic = Nic(mac="02:00:00:00:00:01", name="eth2", purpose=Purpose.guest, addresses=(f"10.1.1.{own}/24",))
    instance = VrrpInstance(
        name="guest",
        interface="eth2",
        virtual_router_id=7,
        priority=priority,
        address=f"10.1.1.{own}",
        peer=f"10.1.1.{peer}",
        virtual_addresses=(f"{VIRTUAL}/24", *extra),
    )
    return State(
        generation=generation,
        machine=str(UUID(int=own)),
        role=Role.router,
        hostname="r-1",
        interfaces=Interfaces(nics=(nic,)),
        keepalived=Keepalived(instances=(instance,)),
    )


@pytest.fixture
def pair() -> Iterator[Pair]:
    with Topology() as topology:
        lan, guest = topology.switch("lan"), topology.machine("guest")
        topology.plug(guest, "eth0", lan)
        guest.run("ip", "addr", "add", "10.1.1.50/24", "dev", "eth0")
        routers = []
        for number in (2, 3):
            machine = topology.machine(f"r{number}")
            topology.plug(machine, "eth2", lan)
            machine.run("ip", "addr", "add", f"10.1.1.{number}/24", "dev", "eth2")
            routers.append(install(SERVICE, machine))
        states = (state_of(2, 3, 150), state_of(3, 2, 100))
        for router, state in zip(routers, states, strict=True):
            router.put(state)
        yield Pair(guest, (routers[0], routers[1]), states)


def mac_of(machine: Machine) -> str:
    return machine.run("cat", "/sys/class/net/eth2/address").stdout.strip()


def answering_mac(guest: Machine) -> str:
    """Whose hardware address the guest learns for the virtual address."""
    guest.run("ip", "neigh", "flush", "dev", "eth0")
    said = guest.run("arping", "-c1", "-w2", "-I", "eth0", VIRTUAL, check=False).stdout.lower()
    words = [word.strip("[]()") for word in said.split()]
    return next((word for word in words if word.count(":") == 5), "")


def test_the_backup_takes_the_address_when_the_primary_dies_and_keeps_it(pair: Pair) -> None:
    first = pair.holder()
    primary, backup = pair.routers[first], pair.routers[1 - first]
    assert answering_mac(pair.guest) == mac_of(primary.machine)
    assert pair.routers[0].unhealthy(pair.states[0]) == []
    assert pair.routers[1].unhealthy(pair.states[1]) == []

    # As a host that dies: no goodbye, and its link is gone.
    with primary.machine.entered():
        pid = primary.doors.daemons.pid("keepalived")
    assert pid is not None
    primary.machine.run("ip", "link", "set", "eth2", "down")
    os.killpg(pid, signal.SIGKILL)
    eventually(lambda: role_of(backup, pair.states[1 - first]) == "primary", "the backup takes over", 10)
    eventually(lambda: answering_mac(pair.guest) == mac_of(backup.machine), "the guest learns it", 5)
    words = primary.unhealthy(pair.states[first])
    assert words[0].startswith("keepalived does not run")
    assert words[1] == "the link eth2 is down or missing: this router cannot take over"

    # It comes back, and does not cause a second outage by taking the address again.
    primary.machine.run("ip", "addr", "del", f"{VIRTUAL}/24", "dev", "eth2", check=False)
    primary.machine.run("ip", "link", "set", "eth2", "up")
    primary.put(pair.states[first])
    eventually(lambda: pair.roles()[first] == "backup", "it is backup", 5)
    pair.guest.run("sleep", "4")
    assert pair.holder() == 1 - first


def test_a_reload_keeps_the_state_and_brings_new_addresses(pair: Pair) -> None:
    first = pair.holder()
    with pair.routers[first].machine.entered():
        before = pair.routers[first].doors.daemons.pid("keepalived")
    more = [
        state_of(own, peer, priority, generation=2, extra=("10.1.1.99/24",))
        for own, peer, priority in ((2, 3, 150), (3, 2, 100))
    ]
    for router, state in zip(pair.routers, more, strict=True):
        router.put(state)
    pair.states = (more[0], more[1])
    assert pair.holder() == first
    listed = pair.routers[first].machine.run("ip", "-4", "-o", "addr", "show", "eth2").stdout
    assert "10.1.1.99/24" in listed
    with pair.routers[first].machine.entered():
        assert pair.routers[first].doors.daemons.pid("keepalived") == before
        (read,) = READS["vrrp"](pair.routers[first].doors)
    assert read["state"] == "primary"
    assert read["held"] == (f"{VIRTUAL}/24", "10.1.1.99/24")


def test_switched_off_it_gives_the_address_away(pair: Pair) -> None:
    first = pair.holder()
    off = State(
        generation=2,
        machine=pair.states[first].machine,
        role=Role.router,
        hostname="r-1",
        interfaces=pair.states[first].interfaces,
    )
    pair.routers[first].put(off)
    other = pair.routers[1 - first]
    eventually(lambda: role_of(other, pair.states[1 - first]) == "primary", "the other takes over", 10)
    assert VIRTUAL + "/" not in pair.routers[first].machine.run("ip", "-4", "addr", "show", "eth2").stdout
