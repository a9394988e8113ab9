"""Shared pools and the hosts of their scope: connected, checked to be the same everywhere, given up again."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import ColumnElement, delete, select, true
from sqlalchemy.orm import Session

from mgmt.agents.errors import AgentError, AgentUnreachable
from mgmt.model.errors import CloudError, ParameterError, Unavailable
from mgmt.ops.endpoints import driver_of, host_endpoint
from mgmt.ops.runtime import Runtime
from mgmt.store.tables import Host, PoolHost, StoragePool
from systemvm.spec.host import HostInfo, PoolSpace, SharedPool

log = logging.getLogger(__name__)
#: How many hosts are asked at once.
_ASKERS = 16


def hosts_in_scope(session: Session, pool: StoragePool) -> list[Host]:
    """The hosts that should reach a shared pool."""
    query = select(Host).where(Host.removed.is_(None), _is_in_scope(pool))
    return list(session.scalars(query.order_by(Host.created, Host.name)))


def is_due(pool: StoragePool, host: Host) -> bool:
    """Whether a host should reach a shared pool."""
    if pool.cluster_id is not None:
        return pool.cluster_id == host.cluster_id
    return pool.host_id is None and pool.zone_id == host.zone_id


def connect_new(runtime: Runtime, pool: StoragePool, hosts: Sequence[Host]) -> PoolSpace:
    """Make a folder a pool, and check that all hosts see the same one; none is left connected on failure.

    The first host marks it, the others must find the mark. Raises ParameterError, Unavailable, naming host
    and path.
    """
    up = [host for host in hosts if host.state == "Up"]
    if not up:
        raise Unavailable(f"no host that is Up could check storage pool {pool.name} in {pool.path}")
    try:
        space = _connect(runtime, pool, up[0], is_new=True)
        with ThreadPoolExecutor(_ASKERS, thread_name_prefix="connect") as askers:
            list(askers.map(lambda host: _connect(runtime, pool, host, is_new=False), up[1:]))
    except CloudError:
        give_up(runtime, pool, up)
        raise
    return space


def give_up(runtime: Runtime, pool: StoragePool, hosts: Iterable[Host]) -> None:
    """Have hosts forget a pool that is no more; one that fails is told again later (`tidy_pools`)."""
    for host in hosts:
        try:
            driver_of(runtime, host).delete_pool(host_endpoint(host), pool.id)
        except (AgentError, CloudError) as error:
            log.warning("host %s keeps storage pool %s for now, because %s", host.name, pool.name, error)


def tidy_pools(runtime: Runtime, infos: Mapping[str, HostInfo]) -> None:
    """Compare what hosts say (`infos`, by their ids) with the shared pools: connect, note, give up.

    A host that came later, or whose folder was not mounted for a while, is connected as soon as it can be.
    """
    with runtime.database.reading() as session:
        every = session.scalars(select(StoragePool).where(StoragePool.host_id.is_(None))).all()
        if not every:
            return
        hosts = session.scalars(select(Host).where(Host.removed.is_(None))).all()
        rows = {(row.pool_id, row.host_id) for row in session.scalars(select(PoolHost))}
    for host in hosts:
        info = infos.get(host.id)
        if info is None:
            continue
        for pool in every:
            has, knows = pool.id in info.pools, (pool.id, host.id) in rows
            if pool.removed is not None and has:
                give_up(runtime, pool, [host])
            elif pool.removed is None and is_due(pool, host) and not (has and knows):
                _reconnect(runtime, pool, host, knows=knows)


def note_reached(session: Session, pool_id: str, host_id: str) -> None:
    """Note that a host reaches a pool."""
    session.merge(PoolHost(pool_id=pool_id, host_id=host_id))


def _reconnect(runtime: Runtime, pool: StoragePool, host: Host, *, knows: bool) -> None:
    try:
        driver_of(runtime, host).put_pool(host_endpoint(host), SharedPool(id=pool.id, path=pool.path))
    except AgentUnreachable:
        return
    except (AgentError, CloudError) as error:
        if knows:
            log.warning("host %s does not reach storage pool %s: %s", host.name, pool.name, error)
            with runtime.database.writing() as session:
                gone = delete(PoolHost).where(PoolHost.pool_id == pool.id, PoolHost.host_id == host.id)
                session.execute(gone)
        return
    if not knows:
        log.info("host %s reaches storage pool %s", host.name, pool.name)
        with runtime.database.writing() as session:
            note_reached(session, pool.id, host.id)


def _connect(runtime: Runtime, pool: StoragePool, host: Host, *, is_new: bool) -> PoolSpace:
    where = f"host {host.name} cannot use {pool.path} as storage pool {pool.name}"
    try:
        document = SharedPool(id=pool.id, path=pool.path, is_new=is_new)
        return driver_of(runtime, host).put_pool(host_endpoint(host), document)
    except AgentUnreachable as error:
        raise Unavailable(f"{where}: {error}") from error
    except AgentError as error:
        raise ParameterError(f"{where}: {error}") from error


def _is_in_scope(pool: StoragePool) -> ColumnElement[bool]:
    if pool.cluster_id is not None:
        return Host.cluster_id == pool.cluster_id
    return Host.zone_id == pool.zone_id if pool.host_id is None else ~true()
