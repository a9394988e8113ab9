"""How the cloud is: a fixed number of statements over the database, at most once in some seconds.

However many scrapers ask, and however large the cloud is, the database sees one question in `KEPT_SECONDS`.
"""

import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import case, func, select
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool

from mgmt.model.notices import ALERT_NAMES, CAPACITY_NAMES, AlertType
from mgmt.model.states import JobStatus, VmKind
from mgmt.ops.infrastructure.capacity import sum_up, summed_capacities
from mgmt.store.database import Database
from mgmt.store.tables import Alert, Host, Job, Vm, Zone
from mgmt.store.tables.base import now

KEPT_SECONDS = 10.0


class CloudState(Collector):
    """Gauges of one database. `clock` is the moment that ages are counted to."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime] = now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._kept: list[GaugeMetricFamily] = []
        self._until = 0.0

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Nothing: registering must not ask the database."""
        return ()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """What was read last, or is read now if that is too old; the connections always as they are."""
        with self._lock:
            if not self._kept or self._monotonic() >= self._until:
                self._kept = self._read()
                self._until = self._monotonic() + KEPT_SECONDS
            return [*self._kept, _connections(self._database)]

    def _read(self) -> list[GaugeMetricFamily]:
        with self._database.reading() as session:
            zones = {row[0]: row[1] for row in session.execute(select(Zone.id, Zone.name))}
            return [
                _hosts(session, zones),
                *_vms(session, zones),
                *_capacities(session, zones),
                *_jobs(session, self._clock()),
                _alerts(session),
            ]


def _family(name: str, words: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"pileus_{name}", words, labels=labels)


def _hosts(session: Session, zones: dict[str, str]) -> GaugeMetricFamily:
    family = _family("hosts", "Hosts; those not Up do not answer", "zone", "state", "resource_state")
    keys = (Host.zone_id, Host.state, Host.resource_state)
    query = select(*keys, func.count()).where(Host.removed.is_(None)).group_by(*keys)
    for zone, state, resource_state, count in session.execute(query):
        family.add_metric((zones.get(zone, ""), state, resource_state), count)
    return family


def _vms(session: Session, zones: dict[str, str]) -> list[GaugeMetricFamily]:
    """One statement: VMs of tenants by state, system VMs by what they are and whether they are well."""
    guests = _family("vms", "VMs of tenants", "zone", "state")
    system = _family(
        "system_vms", "System VMs; health is what their agents say", "zone", "kind", "state", "health"
    )
    health: Any = case((Vm.kind == VmKind.user, False), else_=Vm.healthy)
    keys = (Vm.zone_id, Vm.kind, Vm.state, health)
    query = select(*keys, func.count()).where(Vm.removed.is_(None)).group_by(*keys)
    for zone, kind, state, is_healthy, count in session.execute(query):
        place = zones.get(zone, "")
        if kind == VmKind.user:
            guests.add_metric((place, state), count)
        else:
            system.add_metric((place, kind, state, "good" if is_healthy else "ill"), count)
    return [guests, system]


def _capacities(session: Session, zones: dict[str, str]) -> list[GaugeMetricFamily]:
    words = "memory and storage in bytes, CPU in MHz, addresses and network ids in numbers"
    total = _family("capacity_total", f"What there is, overprovisioning counted in: {words}", "zone", "type")
    used = _family("capacity_used", f"What of it is taken: {words}", "zone", "type")
    found = sum_up(summed_capacities(session), lambda item: (item.type, item.zone_id, None, None))
    for item in found:
        labels = (zones.get(item.zone_id, ""), CAPACITY_NAMES[item.type].lower())
        total.add_metric(labels, item.total)
        used.add_metric(labels, item.used)
    return [total, used]


def _jobs(session: Session, moment: datetime) -> list[GaugeMetricFamily]:
    pending = _family("jobs_pending", "Jobs that are not finished", "workflow", "state")
    oldest = _family("jobs_oldest_pending_seconds", "Age of the oldest job that is not finished")
    state: Any = case((Job.handed_over, "running"), else_="queued")
    query = select(Job.workflow, state, func.count(), func.min(Job.created))
    begun = []
    for workflow, phase, count, first in session.execute(
        query.where(Job.status == JobStatus.pending).group_by(Job.workflow, state)
    ):
        pending.add_metric((workflow, phase), count)
        begun.append(first)
    oldest.add_metric((), max((moment - min(begun)).total_seconds(), 0.0) if begun else 0.0)
    return [pending, oldest]


def _alerts(session: Session) -> GaugeMetricFamily:
    family = _family("alerts", "Alerts that are not over", "type")
    query = select(Alert.type, func.count()).where(Alert.removed.is_(None), Alert.resolved.is_(None))
    for kind, count in session.execute(query.group_by(Alert.type)):
        family.add_metric((_alert_name(kind),), count)
    return family


def _alert_name(kind: int) -> str:
    return ALERT_NAMES[AlertType(kind)] if kind in set(AlertType) else str(kind)


def _connections(database: Database) -> GaugeMetricFamily:
    family = _family("database_connections", "Connections of the pools", "state")
    pools = [engine.pool for engine in database.engines if isinstance(engine.pool, QueuePool)]
    if pools:
        family.add_metric(("used",), sum(pool.checkedout() for pool in pools))
        family.add_metric(("idle",), sum(pool.checkedin() for pool in pools))
    return family
