"""Usage records: for each finished day (UTC) and each use, how many hours it was, or how many bytes.

A day's records and the note that it is done are one transaction, so that a crash leaves neither half a day
nor a day twice.
"""

import logging
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, insert, or_, select
from sqlalchemy.orm import Session

from mgmt.model.usage import USAGE_WORDS, UsageType
from mgmt.store.database import Database
from mgmt.store.tables import NetworkBytes, NetworkCounter, Setting, UsageRecord, UsageSpan, Vm
from mgmt.store.tables.base import new_id

log = logging.getLogger(__name__)

MARK = "usage.aggregated"
"""The setting with the last day that is done, as 2026-01-31."""
DAY = timedelta(days=1)


def aggregate(database: Database, moment: datetime) -> int:
    """Make the records of every finished day that has none yet; how many days that were."""
    days = 0
    while _aggregate_next(database, moment):
        days += 1
    return days


def forget_spans(session: Session, before: datetime) -> None:
    """Delete spans that ended before a moment and are in records already."""
    done = last_day(session)
    if done is not None:
        limit = min(before, _start(done) + DAY)
        session.execute(delete(UsageSpan).where(UsageSpan.ended < limit))
        session.execute(delete(NetworkBytes).where(NetworkBytes.day < limit.date().isoformat()))


def _aggregate_next(database: Database, moment: datetime) -> bool:
    with database.reading() as session:
        day = _next_day(session)
    if day is None or _start(day) + DAY > moment:
        return False
    with database.writing() as session:
        if _next_day(session) != day:
            return True  # another server did it
        records = [*_records(session, day), *_bytes(session, day)]
        if records:
            session.execute(insert(UsageRecord), records)
        gone = select(Vm.id).where(Vm.removed.is_not(None))
        session.execute(delete(NetworkCounter).where(NetworkCounter.router_id.in_(gone)))
        session.merge(Setting(name=MARK, value=day.isoformat()))
    log.info("usage of %s: %d records", day, len(records))
    return True


def _next_day(session: Session) -> date | None:
    """The first day without records; None while nothing was ever used."""
    done = last_day(session)
    if done is not None:
        return done + DAY
    span = session.scalar(select(func.min(UsageSpan.started)))
    counted = session.scalar(select(func.min(NetworkBytes.day)))
    first = [*([span.date()] if span else []), *([date.fromisoformat(counted)] if counted else [])]
    return min(first, default=None)


def last_day(session: Session) -> date | None:
    """The last day that is summed up."""
    mark = session.get(Setting, MARK)
    return date.fromisoformat(mark.value) if mark else None


def _start(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _records(session: Session, day: date) -> list[dict[str, Any]]:
    """One row for each use that the day saw; pieces of the same use are added up."""
    start, end = _start(day), _start(day) + DAY
    query = select(UsageSpan).where(
        UsageSpan.started < end, or_(UsageSpan.ended.is_(None), UsageSpan.ended > start)
    )
    seconds: dict[tuple[Any, ...], float] = defaultdict(float)
    spans: dict[tuple[Any, ...], UsageSpan] = {}
    for span in session.scalars(query.execution_options(yield_per=1000)):
        what = (span.account_id, span.type, span.resource_id, span.offering_id, span.template_id)
        use = (*what, span.size, span.cpus, span.cpu_speed, span.memory)
        spans[use] = span
        seconds[use] += (min(span.ended or end, end) - max(span.started, start)).total_seconds()
    return [
        _record(spans[use], round(amount / 3600, 6), start, end) for use, amount in seconds.items() if amount
    ]


def _bytes(session: Session, day: date) -> list[dict[str, Any]]:
    """Two rows for each public address whose router counted something that day."""
    start = _start(day)
    rows = session.scalars(select(NetworkBytes).where(NetworkBytes.day == day.isoformat()))
    return [
        {
            "id": new_id(),
            "account_id": row.account_id,
            "domain_id": row.domain_id,
            "type": int(kind),
            "zone_id": row.zone_id,
            "resource_id": row.address_id,
            "name": row.address,
            "description": f"{amount} {word} at {row.address}",
            "network_id": row.network_id,
            "offering_id": None,
            "template_id": None,
            "size": 0,
            "cpus": None,
            "cpu_speed": None,
            "memory": None,
            "raw": float(amount),
            "start": start,
            "end": start + DAY - timedelta(seconds=1),
            "created": start + DAY,
        }
        for row in rows
        for kind, amount, word in (
            (UsageType.bytes_sent, row.sent, "bytes sent"),
            (UsageType.bytes_received, row.received, "bytes received"),
        )
        if amount
    ]


def _record(span: UsageSpan, hours: float, start: datetime, end: datetime) -> dict[str, Any]:
    return {
        "id": new_id(),
        "account_id": span.account_id,
        "domain_id": span.domain_id,
        "type": span.type,
        "zone_id": span.zone_id,
        "resource_id": span.resource_id,
        "name": span.name,
        "description": f"{USAGE_WORDS[UsageType(span.type)][1]} of {span.name}",
        "offering_id": span.offering_id,
        "template_id": span.template_id,
        "network_id": None,
        "size": span.size,
        "cpus": span.cpus,
        "cpu_speed": span.cpu_speed,
        "memory": span.memory,
        "raw": hours,
        "start": start,
        "end": end - timedelta(seconds=1),
        "created": end,
    }
