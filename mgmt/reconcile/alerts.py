"""Alerts: what an operator should know, raised once, counted when it comes back, resolved by itself."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from mgmt.model.configuration import (
    CLUSTER_CPU_NOTICE,
    CLUSTER_MEMORY_NOTICE,
    PUBLIC_ADDRESS_NOTICE,
    STORAGE_ALLOCATED_NOTICE,
    STORAGE_USED_NOTICE,
    Item,
    Scope,
)
from mgmt.model.notices import ALERT_NAMES, AlertType, CapacityType
from mgmt.model.states import Allocation, TemplateState, VmKind, VmState
from mgmt.ops.images.templates import stalled
from mgmt.ops.infrastructure.capacity import Capacity, all_capacities
from mgmt.ops.infrastructure.readiness import has_host, lacking_kinds, what_is_missing
from mgmt.ops.runtime import Runtime
from mgmt.ops.storage.kept_volumes import PENDING
from mgmt.store.configured import Place, all_values
from mgmt.store.servers import DOWN
from mgmt.store.tables import Alert, Host, ManagementServer, Template, Vm, Volume, VolumeUpload, Zone

log = logging.getLogger(__name__)

#: Days that a certificate which could not be renewed has left when it becomes an alert.
FEW_DAYS = 15
_SYSTEM_VMS = {
    VmKind.router: AlertType.router,
    VmKind.console: AlertType.console_proxy,
    VmKind.storage: AlertType.storage_vm,
}
_NOTICES: Mapping[CapacityType, tuple[AlertType, Item[float], str]] = {
    CapacityType.memory: (AlertType.memory, CLUSTER_MEMORY_NOTICE, "the memory of cluster"),
    CapacityType.cpu: (AlertType.cpu, CLUSTER_CPU_NOTICE, "the CPU of cluster"),
    CapacityType.storage: (AlertType.storage, STORAGE_USED_NOTICE, "the space of storage pool"),
    CapacityType.storage_allocated: (
        AlertType.storage_allocated,
        STORAGE_ALLOCATED_NOTICE,
        "the space to promise of storage pool",
    ),
    CapacityType.public_address: (
        AlertType.public_address,
        PUBLIC_ADDRESS_NOTICE,
        "the public IP addresses of zone",
    ),
}
_OF_POOLS = (CapacityType.storage, CapacityType.storage_allocated)


@dataclass(frozen=True)
class Concern:
    """Something that is wrong at the moment, with `subject_id`."""

    type: AlertType
    subject_id: str
    zone_id: str | None
    words: str


def look(session: Session, days_left: Mapping[str, int]) -> list[Concern]:
    """What is wrong now. `days_left`: of certificates that could not be renewed, by host's or VM's id."""
    return [
        *_servers(session),
        *_zones(session),
        *_machines(session),
        *_certificates(session, days_left),
        *_templates(session),
        *_capacities(session),
    ]


def update_alerts(runtime: Runtime, days_left: Mapping[str, int]) -> None:
    """Bring the alerts of the loop up to date with what is wrong now."""
    with runtime.database.reading() as session:  # looking takes long at size: nobody shall wait for it
        concerns = {(int(item.type), item.subject_id): item for item in look(session, days_left)}
        if not concerns and not _known(session):
            return
    with runtime.database.writing() as session:
        known = _known(session)
        for key, concern in concerns.items():
            if key not in known:
                log.warning("alert: %s", concern.words)
                session.add(_alert(concern, runtime))
            else:
                _see_again(known[key], concern, runtime)
        for key, alert in known.items():
            if key not in concerns and alert.resolved is None:
                log.info("over: %s", alert.description)
                alert.resolved = runtime.now()


def _known(session: Session) -> dict[tuple[int, str], Alert]:
    """The loop's alerts; one that was archived while it lasts is not raised again before it was over."""
    is_known = or_(Alert.removed.is_(None), Alert.resolved.is_(None))
    query = select(Alert).where(Alert.subject_id.is_not(None), is_known).order_by(Alert.created)
    return {(alert.type, alert.subject_id or ""): alert for alert in session.scalars(query)}


def _alert(concern: Concern, runtime: Runtime) -> Alert:
    return Alert(
        type=int(concern.type),
        name=ALERT_NAMES[concern.type],
        description=concern.words,
        zone_id=concern.zone_id,
        subject_id=concern.subject_id,
        created=runtime.now(),
        last_sent=runtime.now(),
    )


def _see_again(alert: Alert, concern: Concern, runtime: Runtime) -> None:
    if alert.resolved is not None:
        log.warning("alert, the %d. time: %s", alert.count + 1, concern.words)
        alert.count += 1
        alert.resolved, alert.last_sent = None, runtime.now()
    if alert.description != concern.words:
        alert.description = concern.words


def _servers(session: Session) -> Iterable[Concern]:
    query = select(ManagementServer).where(ManagementServer.removed.is_(None), ManagementServer.state == DOWN)
    for server in session.scalars(query):
        words = (
            f"management server {server.name} is {server.state} since {server.last_seen:%Y-%m-%d %H:%M} UTC"
        )
        yield Concern(AlertType.management_server, server.id, None, f"{words}: the others do its work")


def _zones(session: Session) -> Iterable[Concern]:
    """Zones that somebody opened, hosts and all, and whose system VMs cannot be made."""
    query = select(Zone).where(Zone.removed.is_(None), Zone.allocation == Allocation.enabled)
    for zone in session.scalars(query).all():
        if not lacking_kinds(session, zone.id) or not has_host(session, zone.id):
            continue
        missing = what_is_missing(session, zone.id)
        if missing:
            words = (
                f"zone {zone.name} is Enabled and cannot have its system VMs: it lacks {', '.join(missing)}"
            )
            yield Concern(AlertType.storage_vm, zone.id, zone.id, words)


def _machines(session: Session) -> Iterable[Concern]:
    for host in session.scalars(
        select(Host).where(Host.removed.is_(None), Host.state.in_(("Alert", "Down")))
    ):
        words = f"host {host.name} at {host.address} is {host.state}: its agent does not answer"
        yield Concern(AlertType.host, host.id, host.zone_id, words)
    query = select(Vm).where(
        Vm.kind != VmKind.user,
        Vm.removed.is_(None),
        Vm.desired_power == "running",
        # One that is new is being made, unless its first start failed.
        or_(Vm.last_start.is_not(None), func.coalesce(Vm.reason, "") != ""),
    )
    for vm in session.scalars(query):
        if vm.state != VmState.running or not vm.healthy:
            state = vm.state if vm.state != VmState.running else "ill"
            words = f"{vm.kind} VM {vm.name} is {state}" + (f": {vm.reason}" if vm.reason else "")
            yield Concern(_SYSTEM_VMS[VmKind(vm.kind)], vm.id, vm.zone_id, words)


def _certificates(session: Session, days_left: Mapping[str, int]) -> Iterable[Concern]:
    for subject_id, days in days_left.items():
        table: Any
        for table, kind in ((Host, "host"), (Vm, "VM")):
            row = session.get(table, subject_id)
            if row is not None and row.removed is None and days < FEW_DAYS:
                words = f"the certificate of {kind} {row.name} ends in {days} days and could not be renewed"
                yield Concern(AlertType.certificate, row.id, row.zone_id, words)


def _templates(session: Session) -> Iterable[Concern]:
    query = select(Template).where(
        Template.removed.is_(None), Template.state == TemplateState.failed, Template.is_public.is_(True)
    )
    for template in session.scalars(query):
        words = f"public template {template.name} could not be downloaded: {template.reason}"
        yield Concern(AlertType.template, template.id, template.zone_id, words)
    for template in session.scalars(select(Template).where(Template.removed.is_(None), stalled())):
        words = f"template {template.name} waits, and is tried again: {template.reason}"
        yield Concern(AlertType.secondary_storage, template.id, template.zone_id, words)
    waiting = select(Volume, VolumeUpload.reason).join(VolumeUpload, VolumeUpload.volume_id == Volume.id)
    of_state = (Volume.removed.is_(None), Volume.state.in_(PENDING), VolumeUpload.reason != "")
    for volume, reason in session.execute(waiting.where(*of_state)):
        words = f"volume {volume.name} waits for its download, which is tried again: {reason}"
        yield Concern(AlertType.secondary_storage, volume.id, volume.zone_id, words)


def _capacities(session: Session) -> Iterable[Concern]:
    values = all_values(session, [item for _, item, _ in _NOTICES.values()])
    for capacity in all_capacities(session):
        if capacity.type not in _NOTICES:
            continue
        kind, item, words = _NOTICES[capacity.type]
        most = values.at(item, *_places(capacity))
        if capacity.share > most:
            why = f"is taken by more than {100 * most:g}%, the threshold in {item.name}"
            yield Concern(kind, capacity.subject_id, capacity.zone_id, f"{words} {capacity.name} {why}")


def _places(capacity: Capacity) -> list[Place]:
    closest = Scope.pool if capacity.type in _OF_POOLS else Scope.cluster
    return [(closest, capacity.subject_id), (Scope.zone, capacity.zone_id)]
