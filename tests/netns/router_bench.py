"""A router between a public network and a guest network, with the real engine and services in it.

internet 203.0.113.1, 198.51.100.1 ── eth1  router  eth2 ── guests 10.1.1.10 (a), 10.1.1.11 (b)
                   203.0.113.5 ↗       link0 ↘ 10.1.1.1
                                   host 169.254.0.1
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from systemvm.engine.apply import Engine
from systemvm.engine.command import run
from systemvm.engine.outcome import Outcome
from systemvm.engine.processes import Processes
from systemvm.engine.registry import ServicePackage
from systemvm.engine.service import Doors
from systemvm.spec import codec
from systemvm.spec.bootstrap import CONTROL_LINK
from systemvm.spec.network import Interfaces, Nic, Route
from systemvm.spec.state import State
from systemvm.spec.types import ProbeResult, Purpose, Role
from tests.netns.topology import Machine, Topology

MACHINE = "00000000-0000-4000-8000-000000000001"
CONTROL_MAC, PUBLIC_MAC, GUEST_MAC = "0e:00:00:00:00:01", "0e:00:00:00:00:02", "0e:00:00:00:00:03"
GATEWAY, INTERNET, SERVER = "10.1.1.1", "203.0.113.1", "198.51.100.1"
PUBLIC, SECOND, THIRD = "203.0.113.5", "203.0.113.6", "203.0.113.7"
ADDRESSES = {"a": "10.1.1.10", "b": "10.1.1.11"}
MACS = {"a": "0e:00:00:00:01:0a", "b": "0e:00:00:00:01:0b"}
TIMEOUT = 3


@dataclass
class Guest:
    """A machine on the guest network."""

    machine: Machine
    address: str
    mac: str


class RouterBench:
    """The machines, wired; `put` applies a document to the router."""

    def __init__(self, lab: Topology) -> None:
        self.lab = lab
        self.router, self.internet = lab.machine("router"), lab.machine("inet")
        self.host = lab.machine("host")
        self.public_switch, self.guest_switch = lab.switch("public"), lab.switch("guest")
        lab.wire(self.router, CONTROL_LINK, self.host, "cloud0", mac_a=CONTROL_MAC)
        lab.plug(self.internet, "eth0", self.public_switch)
        # Named by arrival, as in a virtual machine: the document gives them their names.
        lab.plug(self.router, "ens9", self.public_switch, mac=PUBLIC_MAC)
        lab.plug(self.router, "ens8", self.guest_switch, mac=GUEST_MAC)
        self.router.run("ip", "addr", "add", "169.254.7.7/16", "dev", CONTROL_LINK)
        self.host.run("ip", "addr", "add", "169.254.0.1/16", "dev", "cloud0")
        self.internet.run("ip", "addr", "add", f"{INTERNET}/24", "dev", "eth0")
        self.internet.run("ip", "addr", "add", f"{SERVER}/32", "dev", "lo")
        self.guests = {name: self.add_guest(name, ADDRESSES[name], mac) for name, mac in MACS.items()}
        self.doors = Doors(run=run, daemons=Processes(Path("/run/pileus/daemons")), now=time.time)
        self._engine: Engine | None = None
        self._generation = 0

    def add_guest(self, name: str, address: str, mac: str, *, configured: bool = True) -> Guest:
        """A machine on the guest network; `configured` by hand, else waiting for DHCP."""
        machine = self.lab.machine(name)
        self.lab.plug(machine, "eth0", self.guest_switch, mac=mac)
        if configured:
            machine.run("ip", "addr", "add", f"{address}/24", "dev", "eth0")
            machine.run("ip", "route", "add", "default", "via", GATEWAY)
        return Guest(machine, address, mac)

    def state(self, **sections: Any) -> State:
        """A document of the next generation, with the bench's NICs unless told otherwise."""
        self._generation += 1
        sections.setdefault("interfaces", interfaces())
        return State(
            generation=self._generation, machine=MACHINE, role=Role.router, hostname="r-1-vm", **sections
        )

    def put(self, **sections: Any) -> Outcome:
        """Apply a document through the engine; raises what the engine raises."""
        with self.router.entered():
            return self.engine.apply(codec.encode(self.state(**sections)))

    def probe(self) -> tuple[ProbeResult, ...]:
        """What the probes of the applied document say."""
        with self.router.entered():
            return self.engine.probe()

    def unhealthy(self) -> list[str]:
        """Words of the probes that fail now."""
        return [f"{probe.service}: {probe.message}" for probe in self.probe() if not probe.healthy]

    def restart_engine(self) -> None:
        """A new engine, as after a restart of the agent; it recovers what is recorded."""
        if self._engine is not None:
            self._engine.close()
        self._engine = None
        with self.router.entered():
            assert self.engine.applied is not None

    @property
    def engine(self) -> Engine:
        """The router's engine; use it inside the router."""
        if self._engine is None:
            self._engine = Engine(ServicePackage("systemvm.services"), self.doors)
            self._engine.recover()
        return self._engine


def interfaces(*, public: tuple[str, ...] = (PUBLIC, SECOND, THIRD), **changes: Any) -> Interfaces:
    """The bench's NICs: eth1 public, eth2 guest, default route to the internet."""
    nics = (
        Nic(
            mac=PUBLIC_MAC,
            name="eth1",
            purpose=Purpose.public,
            addresses=tuple(f"{address}/24" for address in public),
        ),
        Nic(mac=GUEST_MAC, name="eth2", purpose=Purpose.guest, addresses=(f"{GATEWAY}/24",)),
    )
    routes = (Route(destination="0.0.0.0/0", gateway=INTERNET, interface="eth1"),)
    return Interfaces(**{"nics": nics, "routes": routes, "forwarding": True, **changes})
