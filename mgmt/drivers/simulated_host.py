"""What a simulated host is: its sizes and documents, and what became of them."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from mgmt.agents.certificates import Shown
from mgmt.agents.errors import AgentFailed, AgentRefused
from mgmt.agents.host import HostEndpoint
from mgmt.drivers.simulated_identity import SimulatedIdentity
from systemvm.spec import codec
from systemvm.spec.host import CopyStatus, Domain, DomainStatus, HostState, HostVolume, Volume, VolumeFetch

GIB = 1024**3


@dataclass
class SimulatedHost:
    """One host: sizes, documents, and what became of them. `is_down` makes it unreachable.

    `snapshots` are those inside of volumes. For tests that are about them: `identity` is its certificate,
    `relay` what its relay shows instead.
    """

    name: str
    address: str
    cpus: int = 16
    memory_mib: int = 65536
    pools: dict[str, tuple[int, int]] = field(default_factory=lambda: {"primary": (1000 * GIB, 1000 * GIB)})
    is_down: bool = False
    state: HostState | None = None
    domains: dict[str, Domain] = field(default_factory=dict)
    status: dict[str, DomainStatus] = field(default_factory=dict)
    volumes: dict[str, HostVolume] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)
    snapshots: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    landings: dict[str, Domain] = field(default_factory=dict)
    identity: SimulatedIdentity | None = None
    relay: Shown | None = None
    copies: dict[str, CopyStatus] = field(default_factory=dict)

    def owner(self, volume_id: str) -> str:
        """The VM that has a volume here; empty if none has."""
        for domain in self.domains.values():
            if any(volume.id == volume_id for volume in domain.volumes):
                return domain.id
        return ""


def places_of(host: HostEndpoint) -> tuple[str, ...]:
    """Ids by which faults name a host: its own, and those of what it is in."""
    return (host.id, *host.places)


def host_volume(volume: Volume, domain: str) -> HostVolume:
    """What a host says of a volume that it was told to make, and of the VM that has it."""
    return HostVolume(id=volume.id, pool=volume.pool, bytes=volume.bytes, allocated=0, domain=domain)


def source_of(hosts: Mapping[str, SimulatedHost], host: HostEndpoint, copy: VolumeFetch) -> SimulatedHost:
    """The host, of those by address, that a volume comes from to `host`. Raises AgentFailed."""
    source, volume_id = hosts.get(copy.source.address), copy.volume.id
    if source is None or source.is_down or volume_id not in source.volumes:
        raise AgentFailed(f"host {host.name}", f"there is no volume {volume_id} at the other host")
    return source


def check(where: str, document: msgspec.Struct, kind: type[msgspec.Struct]) -> None:
    """What an agent does first: parse the bytes and name every mistake."""
    problems = codec.problems(codec.encode(document), kind)
    if problems:
        raise AgentRefused(where, f"{len(problems)} problems", problems)
