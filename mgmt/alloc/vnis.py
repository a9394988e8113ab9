"""VXLAN network ids of implemented guest networks."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.model.errors import NoCapacity
from mgmt.store.tables import Network, PhysicalNetwork


def new_vni(session: Session, zone_id: str) -> int:
    """The first free id of the zone's physical networks. Raises NoCapacity."""
    taken = set(session.scalars(select(Network.vni).where(Network.vni.is_not(None))))
    query = select(PhysicalNetwork).where(
        PhysicalNetwork.zone_id == zone_id, PhysicalNetwork.removed.is_(None)
    )
    for physical in session.scalars(query):
        for vni in range(physical.vni_first, physical.vni_last + 1):
            if vni not in taken:
                return vni
    raise NoCapacity("the zone has no free VXLAN id: add a physical network, or widen its range")
