"""Which pool of a host takes a volume."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mgmt.model.errors import NoCapacity
from mgmt.store.tables import StoragePool, Volume

#: Volumes are thin: so many times a pool's capacity may be promised.
OVERCOMMIT = 2
_GIB = 1024**3


def place_volume(session: Session, host_id: str, size: int) -> StoragePool:
    """The first pool of the host with room for `size` bytes. Raises NoCapacity with each pool's reason."""
    query = select(StoragePool).where(StoragePool.host_id == host_id, StoragePool.removed.is_(None))
    refusals = []
    for pool in session.scalars(query.order_by(StoragePool.created, StoragePool.id)).all():
        promised = _promised(session, pool.id)
        if pool.state != "Up":
            refusals.append(f"pool {pool.name} is {pool.state}")
        elif promised + size > pool.capacity * OVERCOMMIT:
            limit = pool.capacity * OVERCOMMIT / _GIB
            refusals.append(f"pool {pool.name}: {promised / _GIB:.1f} of {limit:.1f} GiB are promised")
        else:
            return pool
    why = "; ".join(refusals) or "its host has no pool"
    raise NoCapacity(f"no storage pool for a volume of {size / _GIB:.1f} GiB: {why}")


def _promised(session: Session, pool_id: str) -> int:
    query = select(func.sum(Volume.size)).where(Volume.pool_id == pool_id, Volume.removed.is_(None))
    return int(session.scalar(query) or 0)
