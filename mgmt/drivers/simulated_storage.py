"""Pools and volumes of simulated hosts."""

from collections.abc import Iterable

import msgspec

from mgmt.agents.errors import AgentConflict, AgentFailed, AgentRefused
from mgmt.drivers.simulated_host import GIB, Files, SharedFolder, SimulatedHost, host_volume
from systemvm.spec.host import Domain, PoolSpace, Power, SharedPool, Volume, VolumeFetch

#: Total and free bytes of every shared pool.
SHARED_SPACE = (1000 * GIB, 1000 * GIB)


def connect(host: SimulatedHost, folder: SharedFolder, pool: SharedPool) -> PoolSpace:
    """See Driver.put_pool. Raises AgentRefused, AgentConflict."""
    if pool.path in host.unmounted:
        raise AgentRefused(f"host {host.name}", f"{pool.path} is not a folder here: mount it")
    if pool.is_new:
        folder.pool = folder.pool or pool.id
    if folder.pool != pool.id:
        raise AgentConflict(f"host {host.name}", f"{pool.path} is pool {folder.pool}, not {pool.id}")
    host.shared[pool.id] = (pool.path, folder)
    return PoolSpace(total=SHARED_SPACE[0], free=SHARED_SPACE[1])


def give_up(host: SimulatedHost, pool_id: str) -> None:
    """See Driver.delete_pool. Raises AgentConflict."""
    folder = host.reached().get(pool_id)
    if folder is not None:
        if folder.volumes:
            raise AgentConflict(f"host {host.name}", f"pool {pool_id} has volumes: delete them first")
        folder.pool = ""
    host.shared.pop(pool_id, None)


def files_of(host: SimulatedHost, volume: Volume) -> Files:
    """Where a volume belongs. Raises AgentRefused for a pool that the host lacks or does not see."""
    files = host.files(volume.pool)
    if files is None:
        raise AgentRefused(f"host {host.name}", f"volume {volume.id}: no pool {volume.pool!r} here")
    return files


def take_volumes(host: SimulatedHost, domain: Domain, all_hosts: Iterable[SimulatedHost]) -> None:
    """Make what a VM's document names; what leaves the VM by it stays. Raises AgentRefused, AgentFailed."""
    for volume in domain.volumes:
        files, owner = files_of(host, volume), host.owner(volume.id)
        if owner and owner != domain.id:
            raise AgentFailed(f"host {host.name}", f"volume {volume.id} is in use by VM {owner}")
        if owner and not host.owner(volume.id, volume.pool) and host.status[owner].state == "running":
            words = f"volume {volume.id} is in another pool by now, not in {volume.pool}"
            raise AgentFailed(f"host {host.name}", words)
        if volume.pool in host.shared and domain.power is Power.running:
            _check_unused(host, volume, all_hosts)
        files.volumes[volume.id] = host_volume(volume, domain.id)
    old = host.domains.get(domain.id)
    left = {volume.id for volume in old.volumes} if old else set()
    for volume_id in left - {volume.id for volume in domain.volumes}:
        host.files_with(volume_id).kept.add(volume_id)


def fetch(host: SimulatedHost, source: SimulatedHost | None, copy: VolumeFetch) -> None:
    """See Driver.fetch_volume. Raises AgentRefused, AgentFailed."""
    volume, there = copy.volume, source_of(host, source, copy)
    here = files_of(host, volume)
    here.volumes.setdefault(volume.id, host_volume(volume, ""))
    here.snapshots[volume.id] |= there.snapshots[volume.id]
    if copy.keep:
        here.kept.add(volume.id)


def moved(host: SimulatedHost, domain: Domain, copy: VolumeFetch) -> Domain:
    """What a running VM's document is once one of its volumes is in another pool; see Driver.move_disk.

    Raises AgentRefused.
    """
    volume, there = copy.volume, files_of(host, copy.volume)
    old = next((one for one in domain.volumes if one.id == volume.id), None)
    if old is None:
        raise AgentRefused(f"host {host.name}", f"VM {domain.id} does not have volume {volume.id} plugged in")
    if old.pool == volume.pool:
        return domain
    if domain.power is not Power.running:
        raise AgentRefused(f"host {host.name}", f"VM {domain.id} does not run, so none of its volumes moves")
    here = files_of(host, old)
    if here.snapshots[volume.id]:
        raise AgentRefused(f"host {host.name}", f"volume {volume.id} has VM snapshots")
    there.remove(volume.id)
    there.volumes[volume.id] = host_volume(volume, domain.id)
    if copy.keep:
        there.kept.add(volume.id)
    volumes = tuple(volume if one.id == volume.id else one for one in domain.volumes)
    return msgspec.structs.replace(domain, volumes=volumes)


def source_of(host: SimulatedHost, source: SimulatedHost | None, copy: VolumeFetch) -> Files:
    """Where a volume comes from, at the other host. Raises AgentFailed."""
    there: Files | None = None
    if source is not None and not source.is_down:
        there = source.files(copy.pool) if copy.pool else source.files_with(copy.volume.id)
    if there is None or copy.volume.id not in there.volumes:
        raise AgentFailed(f"host {host.name}", f"there is no volume {copy.volume.id} at the other host")
    return there


def _check_unused(host: SimulatedHost, volume: Volume, all_hosts: Iterable[SimulatedHost]) -> None:
    """Nobody writes to a shared file while another host does: QEMU locks it. Raises AgentFailed."""
    for other in all_hosts:
        owner = other.owner(volume.id) if other is not host and volume.pool in other.shared else ""
        if owner and other.status[owner].state == "running":
            words = f"host {other.name} runs VM {owner} with it"
            raise AgentFailed(f"host {host.name}", f"volume {volume.id} cannot be locked: {words}")
