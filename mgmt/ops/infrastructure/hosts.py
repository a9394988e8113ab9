"""What hosts say of themselves, kept in their rows and those of their pools."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from mgmt.ops.compute.domains import host_pool
from mgmt.ops.runtime import Runtime
from mgmt.store.tables import Host, StoragePool
from systemvm.spec.host import HostInfo

#: So many rows in one transaction that nobody else waits long for it.
_PORTION = 500
#: Stands for the hosts of a pool that several share.
SHARED = ""


def store_info(session: Session, host: Host, info: HostInfo) -> None:
    """Take over sizes, version and ports of a host, and the space of its pools."""
    _store(host, _pools(session, [host.id]), info)


def store_infos(runtime: Runtime, infos: Mapping[str, HostInfo], seen: Sequence[str]) -> None:
    """Take over what many hosts said, by their ids, and that those in `seen` answered just now."""
    for some in _portions(list(infos)):
        with runtime.database.writing() as session:
            pools = _pools(session, some)
            for host in session.scalars(select(Host).where(Host.id.in_(some))).all():
                _store(host, pools, infos[host.id])
    for some in _portions(seen):
        with runtime.database.writing() as session:
            session.execute(update(Host).where(Host.id.in_(some)).values(last_seen=runtime.now()))


def _store(host: Host, pools: Mapping[str, list[StoragePool]], info: HostInfo) -> None:
    host.tunnel_port, host.relay_port = info.tunnel_port, info.console_relay_port
    host.acceleration, host.version = info.acceleration, info.version
    host.cpus, host.cpu_mhz, host.memory_mib = info.cpus, info.cpu_mhz, info.memory_mib
    for pool in (*pools[host.id], *pools[SHARED]):
        name = host_pool(pool)
        if name in info.pools:
            total, free = info.pools[name]
            pool.capacity, pool.used = total, total - free


def _pools(session: Session, host_ids: Sequence[str]) -> defaultdict[str, list[StoragePool]]:
    """The pools of hosts, by the hosts' ids, and those that hosts share."""
    found: defaultdict[str, list[StoragePool]] = defaultdict(list)
    these = or_(StoragePool.host_id.in_(host_ids), StoragePool.host_id.is_(None))
    for pool in session.scalars(select(StoragePool).where(these, StoragePool.removed.is_(None))):
        found[pool.host_id or SHARED].append(pool)
    return found


def _portions(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[first : first + _PORTION] for first in range(0, len(ids), _PORTION)]
