"""One host, assembled: its networks, template cache, volumes and VMs behind one object."""

import logging
import os
import platform
import socket
from importlib.metadata import version
from pathlib import Path

import libvirt
import msgspec

from appliance.hostagent.config import HostAgentConfig
from appliance.hostagent.copies import Copies
from appliance.hostagent.disk_moves import DiskMoves
from appliance.hostagent.domains import Domains
from appliance.hostagent.errors import Conflict
from appliance.hostagent.eviction import Evictor
from appliance.hostagent.hypervisor import Hypervisor
from appliance.hostagent.migrations import Migrations
from appliance.hostagent.networks import HostNetworks
from appliance.hostagent.operations import Operation, Operations
from appliance.hostagent.shared_pools import shared_pools_of, space
from appliance.hostagent.snapshots import Snapshots
from appliance.hostagent.templates import TemplateCache
from appliance.hostagent.volume_fetches import VolumeFetches
from appliance.hostagent.volumes import VolumeStore
from appliance.paths import Paths
from systemvm.engine.errors import EngineError
from systemvm.spec.host import HostInfo, HostVolume, Volume
from systemvm.spec.types import ProbeResult

_log = logging.getLogger("pileus.host")
API_VERSIONS = ("v1",)
_MIB = 1024


class Host:
    """What the routes speak to."""

    def __init__(self, config: HostAgentConfig, paths: Paths, uri: str) -> None:
        self.config = config
        self.networks = HostNetworks(config, paths)
        self.hypervisor = Hypervisor(uri)
        evictor = Evictor(paths.templates, config.cache_floor, self._files_in_use)
        self.templates = TemplateCache(
            paths.templates, paths.images, pull_timeout=config.pull_timeout, evictor=evictor
        )
        pools = {name: Path(folder) for name, folder in config.pools.items()}
        self.shared_pools = shared_pools_of(config, paths)
        self.volumes = VolumeStore(pools, self.templates, self.shared_pools)
        self.domains = Domains(config, paths, self.hypervisor, self.volumes, self.templates, self.networks)
        self.snapshots = Snapshots(self.domains, self.volumes)
        self.copies = Copies(self.volumes, self.hypervisor, self.domains.attachments)
        self._making = Operations()
        # What is done is done once, also when nobody waited for its end: the next request gets the answer.
        self._unanswered: dict[str, Operation] = {}
        self.migrations = Migrations(self.hypervisor, self.domains, self.volumes)
        self.fetches = VolumeFetches(self.volumes)
        self.disk_moves = DiskMoves(self.hypervisor, self.domains, self.volumes, paths.domains)

    def _files_in_use(self) -> set[Path] | None:
        try:
            return self.volumes.bases() | self.domains.used_files()
        except (EngineError, libvirt.libvirtError, OSError) as error:
            _log.warning("no template is evicted, because it is not known what is in use: %s", error)
            return None

    def info(self) -> HostInfo:
        """What the host is and has."""
        _model, _memory, _cpus, mhz, *_rest = self.hypervisor.connection().getInfo()
        return HostInfo(
            host=self.config.host,
            name=self.config.name,
            version=version("pileus"),
            api_versions=API_VERSIONS,
            acceleration=self.config.acceleration,
            cpus=os.cpu_count() or 1,
            cpu_mhz=int(mhz),
            memory_mib=_memory_kib() // _MIB,
            pools={
                name: (found.total, found.free)
                for name, found in ((name, space(folder)) for name, folder in self.volumes.pools().items())
            },
            management_address=self.config.management_address,
            tunnel_port=self.config.tunnel_port,
            console_relay_port=self.config.console_relay_port,
        )

    def put_volume(self, volume: Volume, *, replace: bool = False, wait: float = 0.0) -> HostVolume:
        """Make or grow a volume of its own; it outlives every VM that has it. Raises HostError.

        `replace` makes one that is there anew, of its base; no VM may run with it then. What takes longer
        than `wait` seconds goes on, and the answer says `preparing`.
        """
        owner = self.domains.attachments().get(self.volumes.path(volume), "")
        if replace and owner and self.domains.is_running(owner):
            raise Conflict(f"volume {volume.id} is in use by running VM {owner}: stop it first")
        make = self.volumes.replace if replace else self.volumes.ensure
        digest = f"{replace} {_without_ticket(volume)}"
        operation = self._unanswered.get(volume.id)
        if operation is None or operation.digest != digest:
            operation = self._making.start(
                volume.id,
                f"volume {volume.id}",
                digest,
                lambda operation: _discard(make(volume, operation.say, operation.cancelled)),
            )
        self._unanswered[volume.id] = operation
        if not operation.wait(wait):
            return HostVolume(id=volume.id, pool=volume.pool, bytes=0, allocated=0, preparing=operation.step)
        self._unanswered.pop(volume.id, None)
        if operation.error:
            raise operation.error
        if not replace:  # one that is there stays whatever it was: its VM's, or of its own
            self.volumes.keep(volume.id, volume.pool)
        return self._settle(volume)

    def _settle(self, volume: Volume) -> HostVolume:
        attached = self.domains.attachments()
        if self.volumes.is_smaller(volume):
            path = self.volumes.path(volume)
            owner = attached.get(path, "")
            if not owner or not self.domains.grow_running(owner, path, volume.bytes):
                self.volumes.grow(volume)
        return self.volumes.get(volume.id, attached)

    def health(self) -> list[ProbeResult]:
        """Functional checks, in words."""
        return [
            self._probe_libvirt(),
            self._probe_networks(),
            self._probe_relay(),
            *(_probe_pool(name, folder) for name, folder in self.volumes.pools().items()),
            *(_probe_shared(key, folder) for key, folder in self._lost_pools()),
        ]

    def _probe_libvirt(self) -> ProbeResult:
        try:
            count = len(self.hypervisor.states())
        except EngineError as error:
            return ProbeResult(service="libvirt", name="libvirtd answers", healthy=False, message=str(error))
        message = f"libvirtd answers on {platform.node()}: {count} VMs"
        return ProbeResult(service="libvirt", name="libvirtd answers", healthy=True, message=message)

    def _probe_networks(self) -> ProbeResult:
        problems = self.networks.problems()
        message = "; ".join(problems) or "bridges and tunnels are as asked"
        return ProbeResult(
            service="networks", name="links are as asked", healthy=not problems, message=message
        )

    def _probe_relay(self) -> ProbeResult:
        address = (self.config.management_address, self.config.tunnel_port)
        try:
            socket.create_connection(address, timeout=5).close()
        except OSError as error:
            words = f"nothing answers on {address[0]}:{address[1]} ({error}): start pileus-relay"
            return ProbeResult(service="relay", name="tunnel accepts", healthy=False, message=words)
        message = f"the tunnel accepts on {address[0]}:{address[1]}"
        return ProbeResult(service="relay", name="tunnel accepts", healthy=True, message=message)

    def _lost_pools(self) -> list[tuple[str, Path]]:
        reached = self.shared_pools.reached()
        return [item for item in self.shared_pools.known().items() if item[0] not in reached]


def _probe_pool(name: str, folder: Path) -> ProbeResult:
    is_usable = folder.is_dir() and os.access(folder, os.W_OK)
    message = f"{folder} is {'writable' if is_usable else 'missing or read-only: mount it again'}"
    return ProbeResult(service="storage", name=f"pool {name}", healthy=is_usable, message=message)


def _probe_shared(name: str, folder: Path) -> ProbeResult:
    words = f"{folder} is not mounted: mount it again"
    return ProbeResult(service="storage", name=f"pool {name}", healthy=False, message=words)


def _without_ticket(volume: Volume) -> Volume:
    """The same volume, whoever was given which ticket for its base."""
    if volume.base is None:
        return volume
    return msgspec.structs.replace(volume, base=msgspec.structs.replace(volume.base, url=""))


def _discard(_result: object) -> None:
    return None


def _memory_kib() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1])
    return 0
