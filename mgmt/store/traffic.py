"""Bytes of public addresses: what routers have counted since they started becomes bytes of a day (UTC).

The last counters of each router are kept beside the sums and written in the same transaction, so nothing is
counted twice or lost however often, and by whichever server, a router is read. A router counts from zero
after each start.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.store.tables import Network, NetworkBytes, NetworkCounter, PublicAddress, Vm


@dataclass(frozen=True)
class Counted:
    """Bytes that a router has sent from and received at a public address since it started."""

    address: str
    sent: int
    received: int


def new_bytes(
    before: NetworkCounter | None, started: datetime | None, counted: Counted
) -> tuple[int, int] | None:
    """Bytes sent and received since the last reading; None if there are none.

    Counters that are smaller than they were tell of a start that nobody ordered.
    """
    sent, received = counted.sent, counted.received
    is_same_start = before is not None and before.started == started
    if before is not None and is_same_start and sent >= before.sent and received >= before.received:
        sent, received = sent - before.sent, received - before.received
    return (sent, received) if sent or received else None


def last_counters(session: Session, router_id: str, *, lock: bool = False) -> dict[str, NetworkCounter]:
    """A router's counters by address, as they were read last; `lock` lets nobody else add to them."""
    query = select(NetworkCounter).where(NetworkCounter.router_id == router_id)
    rows = session.scalars(query.with_for_update() if lock else query)
    return {row.address: row for row in rows}


def add_traffic(session: Session, router: Vm, counted: Sequence[Counted], moment: datetime) -> None:
    """Add what is new to the sums of the day, and remember the counters.

    The network's owner pays: a router serves one network, and its addresses are its owner's.
    """
    # Two servers that read at once take turns at the router's row, also before it has counters.
    session.execute(select(Vm.id).where(Vm.id == router.id).with_for_update())
    before = last_counters(session, router.id, lock=True)
    network = session.get(Network, router.network_id) if router.network_id else None
    if network is None:
        return
    ids = _address_ids(session, network, [item.address for item in counted])
    for item in counted:
        fresh = new_bytes(before.get(item.address), router.last_start, item)
        session.merge(
            NetworkCounter(
                router_id=router.id,
                address=item.address,
                started=router.last_start,
                sent=item.sent,
                received=item.received,
            )
        )
        if fresh is not None:
            row = _row_of_day(session, network, item.address, ids, moment)
            row.sent, row.received = row.sent + fresh[0], row.received + fresh[1]


def _address_ids(session: Session, network: Network, addresses: Sequence[str]) -> dict[str, str]:
    query = select(PublicAddress.address, PublicAddress.id).where(
        PublicAddress.zone_id == network.zone_id,
        PublicAddress.address.in_(addresses),
        PublicAddress.removed.is_(None),
    )
    return {address: address_id for address, address_id in session.execute(query)}


def _row_of_day(
    session: Session, network: Network, address: str, ids: Mapping[str, str], moment: datetime
) -> NetworkBytes:
    day = moment.date().isoformat()
    query = select(NetworkBytes).where(
        NetworkBytes.day == day, NetworkBytes.network_id == network.id, NetworkBytes.address == address
    )
    row = session.scalar(query)
    if row is None:
        row = NetworkBytes(
            account_id=network.account_id,
            domain_id=network.domain_id,
            network_id=network.id,
            zone_id=network.zone_id,
            address=address,
            address_id=ids.get(address),
            day=day,
        )
        session.add(row)
        session.flush()
    return row
