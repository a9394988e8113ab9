"""Which pool of a host takes a volume."""

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from mgmt.model.configuration import (
    POOL_ALLOCATED_LIMIT,
    POOL_USED_LIMIT,
    STORAGE_OVERPROVISIONING,
    Scope,
)
from mgmt.model.errors import NoCapacity
from mgmt.store.configured import Values, all_values
from mgmt.store.tables import StoragePool, Volume

_GIB = 1024**3


def place_volume(session: Session, host_id: str, size: int) -> StoragePool:
    """The first pool of the host with room for `size` bytes. Raises NoCapacity with each pool's reason."""
    query = select(StoragePool).where(StoragePool.host_id == host_id, StoragePool.removed.is_(None))
    values = all_values(session, (STORAGE_OVERPROVISIONING, POOL_ALLOCATED_LIMIT, POOL_USED_LIMIT))
    refusals = []
    for pool in session.scalars(query.order_by(StoragePool.created, StoragePool.id)).all():
        reason = _why_not(session, pool, size, values)
        if not reason:
            return pool
        refusals.append(f"pool {pool.name} {reason}")
    why = "; ".join(refusals) or "its host has no pool"
    raise NoCapacity(f"no storage pool for a volume of {size / _GIB:.1f} GiB: {why}")


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
    here = or_(Volume.pool_id == pool_id, Volume.target_pool_id == pool_id)
    query = select(func.sum(Volume.size)).where(here, Volume.removed.is_(None))
    return int(session.scalar(query) or 0)
