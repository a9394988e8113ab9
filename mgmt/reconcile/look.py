"""The snapshot: rows first, then what hosts and agents say."""

import logging
from collections.abc import Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from mgmt.agents.errors import AgentError
from mgmt.model.errors import CloudError
from mgmt.model.states import Allocation, JobStatus, VmState, VolumeState
from mgmt.ops.endpoints import HOST_COLUMNS, driver_of, host_endpoint
from mgmt.ops.infrastructure.hosts import store_info, store_infos
from mgmt.ops.infrastructure.readiness import lacking_kinds, what_is_missing
from mgmt.ops.runtime import Runtime
from mgmt.reconcile.certificates import Unrenewed
from mgmt.reconcile.decide import Snapshot, VmView, VolumeView, ZoneView
from mgmt.store.tables import (
    Host,
    Job,
    Vm,
    Volume,
    Zone,
)
from systemvm.spec.host import DomainStatus, HostInfo

log = logging.getLogger(__name__)
_SETTLED = (VmState.destroyed, VmState.expunging, VmState.error)

#: How many hosts are asked at once.
_ASKERS = 8
#: What the loop reads of thousands of rows every few seconds.
_VM_COLUMNS = (
    Vm.id,
    Vm.name,
    Vm.kind,
    Vm.state,
    Vm.desired_power,
    Vm.host_id,
    Vm.generation,
    Vm.applied,
    Vm.last_start,
)

Reports = dict[str, dict[str, DomainStatus]]


def take_snapshot(
    runtime: Runtime,
    silent: Mapping[str, int],
    unrenewed: Mapping[str, Unrenewed],
    infos: dict[str, HostInfo],
    *,
    with_info: bool,
) -> Snapshot:
    """Look at everything once; `with_info` asks sizes.

    `silent` counts how long agents have not answered; `unrenewed` are those whose certificates could not be;
    `infos` is what hosts said of themselves the last time, by id, and is kept up to date.
    """
    with runtime.database.reading() as session:
        vms = _vm_views(session, silent, unrenewed, busy_subjects(session))
        volumes = _volume_views(session)
        zones = _zone_views(session)
        query = select(*HOST_COLUMNS, Host.state).where(Host.removed.is_(None))
        hosts: Sequence[Any] = session.execute(query).all()
    reports: Reports = {}
    said: dict[str, HostInfo] = {}
    turn = iter(hosts)  # a list's, which several threads may go through together

    def ask() -> None:
        for host in turn:
            answer = _ask(runtime, host, with_info)
            if answer is not None:
                reports[host.id] = answer.statuses
                if answer.info is not None:
                    said[host.id] = answer.info

    with ThreadPoolExecutor(max_workers=_ASKERS, thread_name_prefix="look") as pool:
        for asker in [pool.submit(ask) for _ in range(_ASKERS)]:
            asker.result()
    if said:
        store_infos(runtime, {key: info for key, info in said.items() if infos.get(key) != info}, list(said))
        infos.clear()
        infos.update(said)
    return Snapshot(vms=vms, volumes=volumes, zones=zones, reports=reports)


def look_at_host(
    runtime: Runtime, host_id: str, silent: Mapping[str, int], unrenewed: Mapping[str, Unrenewed]
) -> Snapshot:
    """Look at the VMs of one host; at none if it does not answer, which the whole look says."""
    with runtime.database.reading() as session:
        host = session.get_one(Host, host_id)
        # Hosts tell of each change: at a burst of deploys all jobs would be read for each of them.
        there = select(Vm.id).where(Vm.host_id == host_id, Vm.removed.is_(None))
        busy = busy_subjects(session, or_(Job.instance_id == host_id, Job.instance_id.in_(there)))
        vms = _vm_views(session, silent, unrenewed, busy, Vm.host_id == host_id)
    try:
        statuses = driver_of(runtime, host).all_domains(host_endpoint(host))
    except (AgentError, CloudError):
        return Snapshot()
    return Snapshot(vms=vms, reports={host_id: {status.id: status for status in statuses}})


def busy_subjects(session: Session, *only: ColumnElement[bool]) -> set[str]:
    """Ids of all objects that a job is about at the moment, for who looks at many; see `is_busy`."""
    about = Job.instance_id.is_not(None)
    query = select(Job.instance_id).where(Job.status == JobStatus.pending, about, *only)
    return {subject for subject in session.scalars(query) if subject}


def is_busy(session: Session, *subjects: str | None) -> bool:
    """Whether a job is about one of these at the moment; one statement, however many jobs there are."""
    pending = select(Job.id).where(Job.status == JobStatus.pending, Job.instance_id.in_(subjects))
    return session.scalar(pending.limit(1)) is not None


@dataclass(frozen=True)
class _Answer:
    statuses: dict[str, DomainStatus]
    info: HostInfo | None


def _ask(runtime: Runtime, host: Any, with_info: bool) -> _Answer | None:
    """What a host says of its VMs; None if it does not answer, which its row then says."""
    try:
        driver, endpoint = driver_of(runtime, host), host_endpoint(host)
        statuses = {status.id: status for status in driver.all_domains(endpoint)}
        info = driver.info(endpoint) if with_info else None
    except (AgentError, CloudError) as error:
        if host.state != "Alert":
            log.warning("host %s is in state Alert, because %s", host.name, error)
            with runtime.database.writing() as session:
                session.get_one(Host, host.id).state = "Alert"
        return None
    if host.state != "Up":
        log.info("host %s is Up, because its agent answers", host.name)
        with runtime.database.writing() as session:
            row = session.get_one(Host, host.id)
            row.state, row.last_seen = "Up", runtime.now()
            row.networks = []  # it may have been set up anew
            if info is not None:
                store_info(session, row, info)
    return _Answer(statuses, info)


def _vm_views(
    session: Session,
    silent: Mapping[str, int],
    unrenewed: Mapping[str, Unrenewed],
    busy: Set[str],
    *only: ColumnElement[bool],
) -> tuple[VmView, ...]:
    wanted = select(*_VM_COLUMNS).where(Vm.removed.is_(None), Vm.state.not_in(_SETTLED), *only)
    rows = session.execute(wanted)
    return tuple(
        VmView(
            id=vm.id,
            name=vm.name,
            kind=vm.kind,
            state=vm.state,
            desired_power=vm.desired_power,
            host_id=vm.host_id,
            generation=vm.generation,
            applied=vm.applied,
            # A job that empties a host is about the host.
            is_busy=vm.id in busy or (vm.state == VmState.migrating and vm.host_id in busy),
            silent=silent.get(vm.id, 0),
            days_left=_days_left(vm.last_start, unrenewed.get(vm.id)),
        )
        for vm in rows
    )


def _volume_views(session: Session) -> tuple[VolumeView, ...]:
    """Those that are on their way to another pool."""
    query = select(Volume.id, Volume.name, Volume.vm_id).where(
        Volume.target_pool_id.is_not(None), Volume.state == VolumeState.migrating, Volume.removed.is_(None)
    )
    rows = session.execute(query).all()
    busy = busy_subjects(session) if rows else set()
    return tuple(
        VolumeView(id=row.id, name=row.name, vm_id=row.vm_id, is_busy=bool({row.id, row.vm_id} & busy))
        for row in rows
    )


def _days_left(last_start: datetime | None, unrenewed: Unrenewed | None) -> int | None:
    """Those of the agent's certificate, unless the VM got another with a later start."""
    if unrenewed is None or (last_start is not None and last_start >= unrenewed.seen):
        return None
    return unrenewed.days_left


def _zone_views(session: Session) -> tuple[ZoneView, ...]:
    zones = session.scalars(select(Zone).where(Zone.removed.is_(None), Zone.allocation == Allocation.enabled))
    return tuple(_zone_view(session, zone) for zone in zones.all())


def _zone_view(session: Session, zone: Zone) -> ZoneView:
    lacks = tuple(kind.value for kind in lacking_kinds(session, zone.id))
    can_host = bool(lacks) and not what_is_missing(session, zone.id)
    return ZoneView(id=zone.id, name=zone.name, lacks=lacks, can_host=can_host)
