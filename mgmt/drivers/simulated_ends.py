"""How VMs of simulated hosts end without anybody ordering it, and how whoever waits hears of it."""

import threading

import msgspec

from mgmt.agents.errors import AgentNotFound, AgentUnreachable
from mgmt.agents.host import HostEndpoint
from mgmt.drivers.simulated_host import SimulatedHost
from mgmt.drivers.simulated_machine import SimulatedMachine


class SimulatedEnds:
    """The part of the simulator that is about ends."""

    def __init__(self) -> None:
        self.hosts: dict[str, SimulatedHost] = {}
        self.machines: dict[str, SimulatedMachine] = {}
        #: How many wait for a change at the moment.
        self.listeners = 0
        self._changed = threading.Condition()

    def host(self, endpoint: HostEndpoint) -> SimulatedHost:
        """The host behind an endpoint. Raises AgentUnreachable when it is down."""
        new = SimulatedHost(name=endpoint.name, address=endpoint.address)
        host = self.hosts.setdefault(endpoint.address, new)
        if host.is_down:
            raise AgentUnreachable(f"host {endpoint.name}", "no answer: connection refused")
        return host

    def wait_for_change(self, host: HostEndpoint, seen: str, seconds: float) -> str:
        """See Driver. Waits in real time, as whoever ends a simulated VM does."""
        found = self.host(host)
        with self._changed:
            if str(found.ends) == seen:
                self.listeners += 1
                self._changed.wait_for(lambda: str(found.ends) != seen, seconds)
                self.listeners -= 1
            return str(found.ends)

    def kill(self, domain_id: str, reason: str = "crashed", state: str = "crashed") -> None:
        """Let a VM die, as by a crash of its process; `stopped` as when somebody on the host stops it."""
        for host in self.hosts.values():
            if domain_id in host.status:
                self._end(host, domain_id, state=state, reason=reason)
                return
        raise AgentNotFound("simulator", f"no VM {domain_id}")

    def reboot(self, address: str) -> None:
        """Let a host go through a reboot: whatever ran on it is off, and known."""
        host = self.hosts[address]
        for domain_id, status in host.status.items():
            if status.state == "running":
                words = "its host rebooted"
                self._end(host, domain_id, state="stopped", reason=words, host_rebooted=True)

    def _end(self, host: SimulatedHost, domain_id: str, **how: str | bool) -> None:
        host.status[domain_id] = msgspec.structs.replace(host.status[domain_id], **how)
        self.machines.pop(domain_id, None)
        with self._changed:
            host.ends += 1
            self._changed.notify_all()
