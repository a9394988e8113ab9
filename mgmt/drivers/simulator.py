"""A whole cloud of hosts in memory: documents are parsed, checked and obeyed; only packets do not flow."""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar, cast
from uuid import NAMESPACE_URL, uuid5

import msgspec

from mgmt.agents.errors import AgentConflict, AgentFailed, AgentNotFound, AgentRefused, AgentUnreachable
from mgmt.agents.host import HostCertificates, HostEndpoint
from mgmt.agents.machine import MachineAgent, MachineEndpoint
from mgmt.drivers import simulated_copies
from mgmt.drivers.faults import Faults
from mgmt.drivers.simulated_ends import SimulatedEnds
from mgmt.drivers.simulated_host import SharedFolder, SimulatedHost, check, host_volume, places_of
from mgmt.drivers.simulated_machine import SimulatedMachine
from mgmt.drivers.simulated_reach import Reached, ReachedCertificates
from mgmt.drivers.simulated_storage import (
    SHARED_SPACE,
    connect,
    fetch,
    files_of,
    give_up,
    moved,
    source_of,
    take_volumes,
)
from systemvm.spec import codec
from systemvm.spec.bootstrap import FILE_NAME, Bootstrap
from systemvm.spec.host import (
    CopyStatus,
    Departure,
    Domain,
    DomainSnapshot,
    DomainStatus,
    HostInfo,
    HostState,
    HostVolume,
    Landing,
    PoolSpace,
    Power,
    SharedPool,
    Volume,
    VolumeCopy,
    VolumeFetch,
)

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
#: Names of calls that faults can be planned for; `machine.…` are those to agents in system VMs.
CALLS = {
    "request_certificate",
    *(f"machine.{name}" for name in vars(Reached) if not name.startswith("_")),
}
#: What a host says of a VM that went to another.
LEFT = "migrated to another host"
_NOWHERE: dict[str, Any] = {"serial_log": "", "vnc_socket": ""}
#: Bridges that every host has before mgmt reaches it.
OWN_BRIDGES = frozenset({"cloud0", "pileus-mgmt", "pileus-public"})


def _met(verb: F) -> F:
    """A verb of `Simulator` that meets the faults planned for it."""

    @wraps(verb)
    def met(simulator: "Simulator", host: HostEndpoint, *more: Any, **named: Any) -> Any:
        with simulator.faults.met(verb.__name__, places_of(host)):
            return verb(simulator, host, *more, **named)

    CALLS.add(verb.__name__)
    return cast(F, met)


class Simulator(SimulatedEnds):
    """`Driver` without a network. Hosts come into being when they are first spoken to.

    `boot_seconds`, of simulated time, pass until the agent of a system VM answers.
    """

    def __init__(self, faults: Faults | None = None, boot_seconds: float = 0.0) -> None:
        super().__init__()
        self.faults = faults or Faults()
        self.boot_seconds = boot_seconds
        self.folders: defaultdict[str, SharedFolder] = defaultdict(SharedFolder)
        self._locks: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)

    @_met
    def info(self, host: HostEndpoint) -> HostInfo:
        """See Driver."""
        found = self.host(host)
        return HostInfo(
            host=host.id or str(uuid5(NAMESPACE_URL, f"https://{host.address}")),
            name=found.name,
            version="simulator",
            api_versions=("v1",),
            acceleration="qemu",
            cpus=found.cpus,
            cpu_mhz=2000,
            memory_mib=found.memory_mib,
            pools={**found.pools, **dict.fromkeys(found.reached(), SHARED_SPACE)},
            management_address=found.address,
        )

    @_met
    def put_state(self, host: HostEndpoint, state: HostState) -> None:
        """See Driver. Refuses what is no HostState, and older generations."""
        found = self.host(host)
        check(f"host {host.name}", state, HostState)
        with self._locks[found.address]:
            if found.state and state.generation < found.state.generation:
                raise AgentConflict(f"host {host.name}", f"generation {state.generation} is stale")
            found.state = state

    @_met
    def state(self, host: HostEndpoint) -> HostState | None:
        """See Driver."""
        return self.host(host).state

    @_met
    def put_domain(self, host: HostEndpoint, domain: Domain, *, force: bool = False) -> DomainStatus:
        """See Driver. Refuses NICs on bridges that the host's state does not have."""
        found = self.host(host)
        check(f"host {host.name}", domain, Domain)
        with self._locks[found.address]:
            self._check_bridges(found, domain)
            take_volumes(found, domain, list(self.hosts.values()))
            old = found.domains.get(domain.id)
            found.domains[domain.id] = domain
            state = "running" if domain.power is Power.running else "stopped"
            found.status[domain.id] = DomainStatus(
                id=domain.id, name=domain.name, state=state, reboots=domain.reboots
            )
            is_fresh = old is None or old.power is not domain.power or old.reboots != domain.reboots
            self._boot(found, domain, is_fresh=is_fresh)
            return found.status[domain.id]

    @_met
    def domain_status(self, host: HostEndpoint, domain_id: str) -> DomainStatus | None:
        """See Driver."""
        return self.host(host).status.get(domain_id)

    @_met
    def all_domains(self, host: HostEndpoint) -> list[DomainStatus]:
        """See Driver."""
        return sorted(self.host(host).status.values(), key=lambda status: status.name)

    @_met
    def put_landing(self, host: HostEndpoint, domain: Domain) -> Landing | None:
        """See Driver."""
        found = self.host(host)
        check(f"host {host.name}", domain, Domain)
        with self._locks[found.address]:
            self._check_bridges(found, domain)
            for volume in domain.volumes:
                files = files_of(found, volume)
                if volume.id not in files.volumes:
                    files.volumes[volume.id] = host_volume(volume, "")
            found.landings[domain.id] = domain
            return Landing(disks={volume.id: volume.pool for volume in domain.volumes}, **_NOWHERE)

    @_met
    def close_landing(self, host: HostEndpoint, domain_id: str) -> None:
        """See Driver."""
        self.host(host).landings.pop(domain_id, None)

    @_met
    def depart(self, host: HostEndpoint, domain_id: str, departure: Departure) -> DomainStatus:
        """See Driver."""
        with self._domain(host, domain_id) as (found, domain):
            if found.status[domain_id].reason == LEFT:
                return found.status[domain_id]
            there = self.hosts.get(departure.to.address)
            landing = there.landings.get(domain_id) if there else None
            if there is None or there.is_down or landing is None or domain.power is not Power.running:
                raise AgentFailed(f"host {host.name}", f"no landing of VM {domain_id} is prepared there")
            there.domains[domain_id], there.status[domain_id] = landing, found.status[domain_id]
            for volume in landing.volumes:
                files_of(there, volume).volumes[volume.id] = host_volume(volume, domain_id)
            found.domains[domain_id] = msgspec.structs.replace(domain, power=Power.stopped)
            stopped = msgspec.structs.replace(found.status[domain_id], state="stopped", reason=LEFT)
            found.status[domain_id] = stopped
            return stopped

    @_met
    def fetch_volume(self, host: HostEndpoint, copy: VolumeFetch) -> bool:
        """See Driver."""
        found = self.host(host)
        check(f"host {host.name}", copy, VolumeFetch)
        with self._locks[found.address]:
            fetch(found, self.hosts.get(copy.source.address), copy)
            return True

    @_met
    def move_disk(self, host: HostEndpoint, domain_id: str, copy: VolumeFetch) -> DomainStatus:
        """See Driver."""
        check(f"host {host.name}", copy, VolumeFetch)
        with self._domain(host, domain_id) as (found, domain):
            found.domains[domain_id] = moved(found, domain, copy)
            return found.status[domain_id]

    @_met
    def fetch_base(self, host: HostEndpoint, copy: VolumeFetch) -> bool:
        """See Driver."""
        found = self.host(host)
        check(f"host {host.name}", copy, VolumeFetch)
        source_of(found, self.hosts.get(copy.source.address), copy)
        return True

    @_met
    def delete_domain(self, host: HostEndpoint, domain_id: str, *, keep_volumes: bool = False) -> None:
        """See Driver."""
        found = self.host(host)
        with self._locks[found.address]:
            domain = found.domains.pop(domain_id, None)
            status = found.status.pop(domain_id, None)
            if status is not None and status.state == "running":  # else it may run on another host
                self.machines.pop(domain_id, None)
            found.landings.pop(domain_id, None)
            for volume in domain.volumes if domain else ():
                files = found.files_with(volume.id)
                if not keep_volumes and volume.id not in files.kept:
                    files.remove(volume.id)

    @_met
    def put_snapshot(self, host: HostEndpoint, domain_id: str, snapshot: DomainSnapshot) -> DomainStatus:
        """See Driver."""
        with self._domain(host, domain_id) as (found, domain):
            if snapshot.memory and domain.power is not Power.running:
                raise AgentRefused(f"host {host.name}", f"VM {domain_id} does not run, so it has no memory")
            for volume in domain.volumes:
                found.files_with(volume.id).snapshots[volume.id].add(snapshot.id)
            return found.status[domain_id]

    @_met
    def delete_snapshot(self, host: HostEndpoint, domain_id: str, snapshot_id: str) -> DomainStatus:
        """See Driver."""
        with self._domain(host, domain_id) as (found, domain):
            for volume in domain.volumes:
                found.files_with(volume.id).snapshots[volume.id].discard(snapshot_id)
            return found.status[domain_id]

    @_met
    def revert(self, host: HostEndpoint, domain_id: str, snapshot: DomainSnapshot) -> DomainStatus:
        """See Driver."""
        with self._domain(host, domain_id) as (found, domain):
            if snapshot.memory != (domain.power is Power.running):
                word = "run" if snapshot.memory else "be stopped"
                raise AgentRefused(f"host {host.name}", f"VM {domain_id} must {word} to go back to that")
            kept = {item.id: found.files_with(item.id).snapshots[item.id] for item in domain.volumes}
            lacks = [volume_id for volume_id, names in kept.items() if snapshot.id not in names]
            if lacks:
                raise AgentRefused(f"host {host.name}", f"snapshot {snapshot.id} is not in volume {lacks[0]}")
            return found.status[domain_id]

    @_met
    def put_pool(self, host: HostEndpoint, pool: SharedPool) -> PoolSpace:
        """See Driver."""
        found = self.host(host)
        check(f"host {host.name}", pool, SharedPool)
        with self._locks[pool.path]:
            return connect(found, self.folders[pool.path], pool)

    @_met
    def delete_pool(self, host: HostEndpoint, pool_id: str) -> None:
        """See Driver."""
        give_up(self.host(host), pool_id)

    @_met
    def put_volume(self, host: HostEndpoint, volume: Volume, *, replace: bool = False) -> HostVolume:
        """See Driver."""
        found = self.host(host)
        check(f"host {host.name}", volume, Volume)
        with self._locks[found.address]:
            files, owner = files_of(found, volume), found.owner(volume.id)
            if replace and owner and found.status[owner].state == "running":
                words = f"volume {volume.id} is in use by running VM {owner}"
                raise AgentConflict(f"host {host.name}", words)
            if not replace:
                files.kept.add(volume.id)
            files.volumes[volume.id] = host_volume(volume, owner)
            return files.volumes[volume.id]

    @_met
    def delete_volume(self, host: HostEndpoint, volume_id: str, pool: str = "") -> None:
        """See Driver."""
        found = self.host(host)
        with self._locks[found.address]:
            owner = found.owner(volume_id, pool)
            files = found.files(pool) if pool else found.files_with(volume_id)
            if owner:
                raise AgentConflict(f"host {host.name}", f"volume {volume_id} is attached to VM {owner}")
            if files is not None:
                files.remove(volume_id)

    @_met
    def all_volumes(self, host: HostEndpoint) -> list[HostVolume]:
        """See Driver."""
        found = self.host(host)
        with self._locks[found.address]:
            owners = {
                (volume.id, volume.pool): domain.id
                for domain in found.domains.values()
                for volume in domain.volumes
            }
            shown = [
                msgspec.structs.replace(volume, domain=owners.get((volume.id, volume.pool), ""))
                for files in found.all_files()
                for volume in list(files.volumes.values())
            ]
        return sorted(shown, key=lambda volume: volume.id)

    @_met
    def put_copy(self, host: HostEndpoint, copy: VolumeCopy) -> CopyStatus:
        """See Driver."""
        found = self.host(host)
        check(f"host {host.name}", copy, VolumeCopy)
        with self._locks[found.address]:
            volume = found.files_with(copy.volume).volumes.get(copy.volume)
            if volume is None:
                raise AgentNotFound(f"host {host.name}", f"no volume {copy.volume} on this host")
            return simulated_copies.send(copy, volume, self.machines.values(), found.copies)

    @_met
    def copy_status(self, host: HostEndpoint, copy_id: str) -> CopyStatus | None:
        """See Driver."""
        return self.host(host).copies.get(copy_id)

    @_met
    def delete_copy(self, host: HostEndpoint, copy_id: str) -> None:
        """See Driver."""
        self.host(host).copies.pop(copy_id, None)

    def machine(self, endpoint: MachineEndpoint) -> MachineAgent:
        """See Driver. As with a real one, whether anybody is there shows with the first question."""
        return Reached(self, endpoint)

    def certificates(self, host: HostEndpoint) -> HostCertificates:
        """See Driver."""
        return ReachedCertificates(self, host)

    def reach(self, endpoint: MachineEndpoint) -> SimulatedMachine:
        """The machine at an address. Raises AgentUnreachable when none runs there."""
        self.host(endpoint.host)
        machine = self.machines.get(endpoint.machine)
        is_there = machine is not None and machine.linklocal_address == endpoint.address
        if machine is None or not is_there or self.faults.time.now() < machine.boots_until:
            raise AgentUnreachable(f"agent of {endpoint.name}", "no answer: connection refused")
        return machine

    @contextmanager
    def _domain(self, host: HostEndpoint, domain_id: str) -> Iterator[tuple[SimulatedHost, Domain]]:
        """A host and a VM that it knows, for one change. Raises AgentNotFound."""
        found = self.host(host)
        with self._locks[found.address]:
            if domain_id not in found.domains:
                raise AgentNotFound(f"host {host.name}", f"no VM {domain_id} on this host")
            yield found, found.domains[domain_id]

    def _check_bridges(self, host: SimulatedHost, domain: Domain) -> None:
        there = OWN_BRIDGES | {
            f"brvx-{network.vni}" for network in (host.state.networks if host.state else ())
        }
        for nic in domain.nics:
            if nic.bridge not in there:
                raise AgentRefused(
                    f"host {host.name}", f"NIC {nic.mac}: bridge {nic.bridge!r} is not in the host's state"
                )

    def _boot(self, host: SimulatedHost, domain: Domain, *, is_fresh: bool) -> None:
        if domain.config_disk is None:
            return
        if domain.power is Power.stopped:
            self.machines.pop(domain.id, None)
        elif is_fresh or domain.id not in self.machines:
            bootstrap = codec.decode(domain.config_disk.files[FILE_NAME].encode(), Bootstrap)
            until = self.faults.time.now() + self.boot_seconds if self.boot_seconds else 0.0
            self.machines[domain.id] = SimulatedMachine(bootstrap, until)
