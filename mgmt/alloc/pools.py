"""Which pool takes a volume, and which hosts reach a pool."""

from functools import lru_cache
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Select, and_, bindparam, case, func, or_, select
from sqlalchemy.orm import Session

from mgmt.model.configuration import (
    POOL_ALLOCATED_LIMIT,
    POOL_USED_LIMIT,
    STORAGE_OVERPROVISIONING,
    Scope,
)
from mgmt.model.errors import NoCapacity, ParameterError, Unavailable
from mgmt.model.pools import StorageType
from mgmt.model.states import VolumeKind
from mgmt.store.configured import Values, all_values
from mgmt.store.tables import DiskOffering, Host, PoolHost, ServiceOffering, StoragePool, Vm, Volume

_GIB = 1024**3

_PROMISED = select(func.sum(Volume.size)).where(
    or_(Volume.pool_id == bindparam("pool_id"), Volume.target_pool_id == bindparam("pool_id")),
    Volume.removed.is_(None),
)


def is_reached_from(host_id: Any, storage: str = "") -> ColumnElement[bool]:
    """Whether a host (its id, or a column) reaches a pool; `storage` leaves local or shared ones alone."""
    shares = select(PoolHost.pool_id).where(PoolHost.host_id == host_id)
    is_local: ColumnElement[bool] = StoragePool.host_id == host_id
    is_shared = StoragePool.id.in_(shares.correlate(Host))  # by an index, not for each pool that there is
    if storage == StorageType.local:
        return is_local
    return is_shared if storage == StorageType.shared else or_(is_local, is_shared)


class Wish(NamedTuple):
    """What a volume asks of its pool: local or shared (empty: any), and tags that it must have."""

    storage: str = ""
    tags: tuple[str, ...] = ()

    def __str__(self) -> str:
        """As in `local storage pool with tags fast, safe`."""
        words = f"{self.storage} storage pool".strip()
        return f"{words} with tags {', '.join(self.tags)}" if self.tags else words


ANY: Final = Wish()


def wish_of(session: Session, volume: Volume) -> Wish:
    """What the offering of a volume asks for."""
    if volume.kind == VolumeKind.root and volume.vm_id is not None:
        offering_id = session.get_one(Vm, volume.vm_id).offering_id
        size = session.get_one(ServiceOffering, offering_id)
        return Wish(size.storage_type, tuple(size.storage_tags))
    offering = session.get(DiskOffering, volume.offering_id) if volume.offering_id else None
    return Wish(offering.storage_type, tuple(offering.tags)) if offering is not None else Wish()


def host_for(session: Session, pool: StoragePool, near: str | None = None) -> Host:
    """The host that works on files of a pool: its own, or of a shared one `near` if that reaches it.

    Raises Unavailable when no host that is Up does.
    """
    if pool.host_id is not None:
        return session.get_one(Host, pool.host_id)
    query = (
        select(Host)
        .join(PoolHost, and_(PoolHost.host_id == Host.id, PoolHost.pool_id == pool.id))
        .where(Host.state == "Up", Host.removed.is_(None))
        .order_by(case((Host.id == near, 0), else_=1), Host.created, Host.name)
    )
    host: Host | None = session.scalars(query.limit(1)).first()
    if host is None:
        raise Unavailable(f"no host that is Up reaches storage pool {pool.name} in {pool.path}: mount it")
    return host


def host_of_volume(session: Session, volume: Volume) -> Host | None:
    """The host that works on a volume's file; of a shared one that of its VM. None for a volume in no pool.

    Raises Unavailable when no host that is Up reaches the file.
    """
    pool = session.get(StoragePool, volume.pool_id) if volume.pool_id else None
    if pool is None:
        return None
    vm = session.get(Vm, volume.vm_id) if volume.vm_id else None
    if pool.host_id is None and vm is not None and vm.host_id is not None:
        return session.get_one(Host, vm.host_id)  # nobody else may touch what runs
    return host_for(session, pool, vm.last_host_id if vm is not None else None)


def place_volume(session: Session, host_id: str, size: int, wish: Wish = ANY) -> StoragePool:
    """The first pool that the host reaches with room for `size` bytes, its own before shared ones.

    Raises NoCapacity with each pool's reason.
    """
    values = all_values(session, (STORAGE_OVERPROVISIONING, POOL_ALLOCATED_LIMIT, POOL_USED_LIMIT))
    refusals = []
    for pool in session.scalars(_reached(wish.storage), {"host_id": host_id}).all():
        reason = lacking_tags(pool, wish) or _why_not(session, pool, size, values)
        if not reason:
            return pool
        refusals.append(f"pool {pool.name} {reason}")
    why = "; ".join(refusals) or f"its host reaches no {wish}"
    raise NoCapacity(f"no storage pool for a volume of {size / _GIB:.1f} GiB: {why}")


def lacking_tags(pool: StoragePool, wish: Wish) -> str:
    """Which tags a pool lacks of those that it must have, as the end of a sentence; empty if it has all."""
    missing = ", ".join(sorted(set(wish.tags) - set(pool.tags)))
    return f"lacks the offering's storage tags {missing}" if missing else ""


def require_tags(pool: StoragePool, wish: Wish) -> None:
    """Raise ParameterError unless a pool has the tags that a volume in it needs."""
    if words := lacking_tags(pool, wish):
        raise ParameterError(f"storage pool {pool.name} {words}")


@lru_cache(maxsize=8)
def _reached(storage: str) -> Select[StoragePool]:
    """The pools that a host reaches, its own first: built once, because each new volume asks for them."""
    reached = is_reached_from(bindparam("host_id"), storage)
    query = select(StoragePool).where(reached, StoragePool.removed.is_(None))
    return query.order_by(StoragePool.host_id.is_(None), StoragePool.created, StoragePool.id)


def require_room(session: Session, pool: StoragePool, more: int) -> None:
    """Raise NoCapacity unless a pool may promise `more` bytes to a volume that it has."""
    values = all_values(session, (STORAGE_OVERPROVISIONING, POOL_ALLOCATED_LIMIT, POOL_USED_LIMIT))
    if reason := _why_not(session, pool, more, values):
        raise NoCapacity(f"no room to grow a volume by {more / _GIB:.1f} GiB: pool {pool.name} {reason}")


def _why_not(session: Session, pool: StoragePool, size: int, values: Values) -> str:
    """Why a pool takes no volume of this size, as the end of a sentence; empty if it does."""
    places = ((Scope.pool, pool.id), (Scope.zone, pool.zone_id))
    limit = pool.capacity * values.at(STORAGE_OVERPROVISIONING, *places)
    limit *= values.at(POOL_ALLOCATED_LIMIT, *places)
    most_used = values.at(POOL_USED_LIMIT, *places)
    promised = _promised(session, pool.id)
    if pool.state != "Up":
        return f"is {pool.state}"
    if promised + size > limit:
        return f"has promised {promised / _GIB:.1f} of {limit / _GIB:.1f} GiB"
    if pool.used > pool.capacity * most_used:
        return f"is fuller than {most_used:.0%}, the limit in {POOL_USED_LIMIT.name}"
    return ""


def _promised(session: Session, pool_id: str) -> int:
    return int(session.scalar(_PROMISED, {"pool_id": pool_id}) or 0)
