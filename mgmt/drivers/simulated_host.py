"""What a simulated host is: its sizes and documents, and what became of them."""

from collections import defaultdict
from dataclasses import dataclass, field

from mgmt.agents.certificates import Shown
from mgmt.agents.host import HostEndpoint
from mgmt.drivers.simulated_identity import SimulatedIdentity
from systemvm.spec.host import CopyStatus, Domain, DomainStatus, HostState, HostVolume, Volume

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


def places_of(host: HostEndpoint) -> tuple[str, ...]:
    """Ids by which faults name a host: its own, and those of what it is in."""
    return (host.id, *host.places)


def host_volume(volume: Volume, domain: str) -> HostVolume:
    """What a host says of a volume that it was told to make, and of the VM that has it."""
    return HostVolume(id=volume.id, pool=volume.pool, bytes=volume.bytes, allocated=0, domain=domain)
