"""What a simulated host is: its sizes and documents, and what became of them."""

from collections import defaultdict
from dataclasses import dataclass, field

import msgspec

from mgmt.agents.certificates import Shown
from mgmt.agents.errors import AgentRefused
from mgmt.agents.host import HostEndpoint
from mgmt.drivers.simulated_identity import SimulatedIdentity
from systemvm.spec import codec
from systemvm.spec.host import CopyStatus, Domain, DomainStatus, HostState, HostVolume, Volume

GIB = 1024**3


@dataclass
class Files:
    """The volumes in one place; `kept` outlive their VMs, `snapshots` are those inside of volumes."""

    volumes: dict[str, HostVolume] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)
    snapshots: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def remove(self, volume_id: str) -> None:
        """Nothing of a volume stays."""
        self.volumes.pop(volume_id, None)
        self.snapshots.pop(volume_id, None)
        self.kept.discard(volume_id)


@dataclass
class SharedFolder(Files):
    """A folder that all hosts have mounted under one path, and the id of the pool in it."""

    pool: str = ""


@dataclass
class SimulatedHost(Files):
    """One host: sizes, documents, and what became of them. `is_down` makes it unreachable.

    `ends` counts VMs that ended by themselves. Its own files are those of its first pool, `more` those of its
    others. `shared` are paths and folders by the ids of the pools in them, `unmounted` the paths of those
    that it does not see. For tests that are about them: `identity` is its certificate, `relay` what its relay
    shows instead.
    """

    name: str = ""
    address: str = ""
    cpus: int = 16
    memory_mib: int = 65536
    pools: dict[str, tuple[int, int]] = field(default_factory=lambda: {"primary": (1000 * GIB, 1000 * GIB)})
    is_down: bool = False
    state: HostState | None = None
    domains: dict[str, Domain] = field(default_factory=dict)
    status: dict[str, DomainStatus] = field(default_factory=dict)
    more: dict[str, Files] = field(default_factory=dict)
    shared: dict[str, tuple[str, SharedFolder]] = field(default_factory=dict)
    unmounted: set[str] = field(default_factory=set)
    landings: dict[str, Domain] = field(default_factory=dict)
    identity: SimulatedIdentity | None = None
    relay: Shown | None = None
    copies: dict[str, CopyStatus] = field(default_factory=dict)
    ends: int = 0

    def reached(self) -> dict[str, SharedFolder]:
        """The shared pools that it sees, by their ids."""
        return {
            key: folder
            for key, (path, folder) in self.shared.items()
            if path not in self.unmounted and folder.pool == key
        }

    def files(self, pool: str) -> Files | None:
        """Where the volumes of a pool are; None if it has no such pool."""
        if pool == next(iter(self.pools), ""):
            return self
        return self.more.setdefault(pool, Files()) if pool in self.pools else self.reached().get(pool)

    def all_files(self) -> list[Files]:
        """Every place where it finds volumes."""
        return [self, *self.more.values(), *self.reached().values()]

    def files_with(self, volume_id: str) -> Files:
        """Where a volume is; a place without it if it is nowhere."""
        return next((files for files in self.all_files() if volume_id in files.volumes), self)

    def owner(self, volume_id: str, pool: str = "") -> str:
        """The VM that has a volume, in a pool if one is named, by its document here."""
        for domain in self.domains.values():
            if any(volume.id == volume_id and pool in ("", volume.pool) for volume in domain.volumes):
                return domain.id
        return ""


def places_of(host: HostEndpoint) -> tuple[str, ...]:
    """Ids by which faults name a host: its own, and those of what it is in."""
    return (host.id, *host.places)


def host_volume(volume: Volume, domain: str) -> HostVolume:
    """What a host says of a volume that it was told to make, and of the VM that has it."""
    return HostVolume(id=volume.id, pool=volume.pool, bytes=volume.bytes, allocated=0, domain=domain)


def check(where: str, document: msgspec.Struct, kind: type[msgspec.Struct]) -> None:
    """What an agent does first: parse the bytes and name every mistake."""
    problems = codec.problems(codec.encode(document), kind)
    if problems:
        raise AgentRefused(where, f"{len(problems)} problems", problems)
