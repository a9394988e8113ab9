"""What hosts say of themselves, kept in their rows and those of their pools."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.orm import Session

from mgmt.ops.compute.domains import host_pool
from mgmt.ops.runtime import Runtime
from mgmt.store.tables import Host, StoragePool
from systemvm.spec.host import HostInfo

#: So many rows in one transaction that nobody else waits long for it.
_PORTION = 500
#: Stands for the hosts of a pool that several share.
SHARED = ""
#: What a host says of itself, by the columns of its row.
_SAID: tuple[tuple[Any, Callable[[HostInfo], Any]], ...] = (
    (Host.tunnel_port, attrgetter("tunnel_port")),
    (Host.relay_port, attrgetter("console_relay_port")),
    (Host.acceleration, attrgetter("acceleration")),
    (Host.version, attrgetter("version")),
    (Host.cpus, attrgetter("cpus")),
    (Host.cpu_mhz, attrgetter("cpu_mhz")),
    (Host.memory_mib, attrgetter("memory_mib")),
)
_POOL_COLUMNS = (
    StoragePool.id,
    StoragePool.host_id,
    StoragePool.path,
    StoragePool.capacity,
    StoragePool.used,
)


def store_info(session: Session, host: Host, info: HostInfo) -> None:
    """Take over sizes, version and ports of a host, and the space of its pools."""
    _store(host, _pools(session, [host.id]), info)


def store_infos(runtime: Runtime, infos: Mapping[str, HostInfo], seen: Sequence[str]) -> None:
    """Take over what many hosts said, by their ids, and that those in `seen` answered just now."""
    for some in _portions(list(infos)):
        with runtime.database.reading() as session:  # mostly the rows say so already: nobody need wait
            changed = _changed(session, {host_id: infos[host_id] for host_id in some})
        if not changed:
            continue
        with runtime.database.writing() as session:
            pools = _pools(session, changed)
            for host in session.scalars(select(Host).where(Host.id.in_(changed))).all():
                _store(host, pools, infos[host.id])
    for some in _portions(seen):
        with runtime.database.writing() as session:
            session.execute(update(Host).where(Host.id.in_(some)).values(last_seen=runtime.now()))


def _changed(session: Session, infos: Mapping[str, HostInfo]) -> list[str]:
    """Ids of hosts that say of themselves, or of their pools, what the rows do not say; two statements."""
    columns = (column for column, _ in _SAID)
    hosts = session.execute(select(Host.id, *columns).where(Host.id.in_(infos)))
    found = {row[0] for row in hosts if tuple(row[1:]) != tuple(read(infos[row[0]]) for _, read in _SAID)}
    for pool in session.execute(select(*_POOL_COLUMNS).where(*_of(list(infos)))):
        now = (pool.capacity, pool.used)
        asked = infos if pool.host_id is None else (pool.host_id,)
        found |= {host_id for host_id in asked if _space(infos[host_id], pool) not in (None, now)}
    return sorted(found)


def _store(host: Host, pools: Mapping[str, list[StoragePool]], info: HostInfo) -> None:
    for column, read in _SAID:
        setattr(host, column.key, read(info))
    for pool in (*pools[host.id], *pools[SHARED]):
        said = _space(info, pool)
        if said is not None:
            pool.capacity, pool.used = said


def _space(info: HostInfo, pool: Any) -> tuple[int, int] | None:
    """Capacity and use of a pool, if the host has it."""
    said = info.pools.get(host_pool(pool))
    return None if said is None else (said[0], said[0] - said[1])


def _pools(session: Session, host_ids: Sequence[str]) -> defaultdict[str, list[StoragePool]]:
    """The pools of hosts, by the hosts' ids, and those that hosts share."""
    found: defaultdict[str, list[StoragePool]] = defaultdict(list)
    for pool in session.scalars(select(StoragePool).where(*_of(host_ids))):
        found[pool.host_id or SHARED].append(pool)
    return found


def _of(host_ids: Sequence[str]) -> tuple[ColumnElement[bool], ...]:
    these = or_(StoragePool.host_id.in_(host_ids), StoragePool.host_id.is_(None))
    return these, StoragePool.removed.is_(None)


def _portions(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[first : first + _PORTION] for first in range(0, len(ids), _PORTION)]
