"""Templates: rows say which ones a zone has, the storage VM's document follows, its answers come back."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from mgmt.alloc import limits
from mgmt.model.errors import InUse
from mgmt.model.resources import ResourceType
from mgmt.model.states import TemplateState, VmKind
from mgmt.ops.images.template_zones import in_zone, shown_id, zone_rows
from mgmt.ops.machines.documents import push_machine, touch_zone
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga
from mgmt.store.tables import Account, Template, Vm, Volume
from mgmt.store.tables.base import now
from systemvm.spec.appliances import TemplateState as Fetched
from systemvm.spec.appliances import TemplateStatus

_STATES = {Fetched.ready: TemplateState.ready, Fetched.failed: TemplateState.failed}


def touch_storage(session: Session, zone_id: str) -> None:
    """Note that the zone's storage VM needs another document; the reconcile loop pushes it."""
    touch_zone(session, zone_id, VmKind.storage)


def delete_template(runtime: Runtime, saga: Saga, *, template_id: str, zone_id: str | None = None) -> None:
    """Remove a template from a zone, or all; volumes made from it keep their own copy on their hosts."""
    zones: list[str] = saga.step("look where it is", lambda: _zones_of(runtime, template_id, zone_id))
    for zone in zones:
        saga.step("remove the template", lambda zone=zone: _remove(runtime, template_id, zone))  # type: ignore[misc]
        saga.step("configure the storage VM", lambda zone=zone: push_storage_if_running(runtime, zone))  # type: ignore[misc]


def store_status(session: Session, template: Template, status: TemplateStatus) -> bool:
    """Take over what the storage VM says of a template; whether something of interest changed."""
    state = _STATES.get(status.state, TemplateState.downloading)
    before = (template.state, template.percent, template.reason)
    template.state = state
    template.percent = 100 if state == TemplateState.ready else status.percent
    template.reason = status.error or ("" if state == TemplateState.ready else status.state.value)
    _count_size(session, template, status.size)
    template.size, template.virtual_size, template.sha256 = status.size, status.virtual_size, status.sha256
    if before[0] != state and template.url:
        # What a document lets the storage VM reach depends on what it still has to fetch.
        touch_storage(session, template.zone_id)
    return before != (template.state, template.percent, template.reason)


def stalled() -> ColumnElement[bool]:
    """Templates that a storage VM puts off for a reason, and tries again by itself."""
    steps = ("", *(step.value for step in Fetched))
    return (Template.state == TemplateState.downloading) & Template.reason.not_in(steps)


def why_stalled(template: Template) -> str:
    """Why a storage VM puts a template off; empty if it does not."""
    is_step = template.reason in tuple(Fetched)
    return "" if is_step or template.state != TemplateState.downloading else template.reason


def _count_size(session: Session, template: Template, size: int) -> None:
    """Count what a template takes, known only now; an owner over the limit registers no other one."""
    if template.removed is None and size != template.size:
        account = session.get_one(Account, template.account_id)
        limits.count_all(session, account, {ResourceType.secondary_storage: size - template.size})


def count_users(session: Session, template_id: str) -> int:
    """How many volumes are based on a template."""
    query = select(func.count(Volume.id)).where(Volume.template_id == template_id, Volume.removed.is_(None))
    return session.scalar(query) or 0


def _zones_of(runtime: Runtime, template_id: str, zone_id: str | None) -> list[str]:
    with runtime.database.reading() as session:
        rows = zone_rows(session, session.get_one(Template, template_id))
        return [row.zone_id for row in rows if zone_id in (None, row.zone_id)]


def _remove(runtime: Runtime, template_id: str, zone_id: str) -> None:
    with runtime.database.writing() as session:
        template = session.get_one(Template, template_id)
        home = shown_id(template)
        waiting = waiting_volume(session, home, [zone_id])
        if waiting is not None:
            raise InUse(
                f"template {template.name} is needed by volume {waiting}, which is not made yet: start its VM"
                " once, or delete the volume"
            )
        here = in_zone(session, template, zone_id)
        if here is not None:
            limits.release_all(session, session.get_one(Account, here.account_id), amounts_of(here))
            here.state = TemplateState.deleted
            # The first row stays as long as there are others: users know them by its id.
            here.removed = now() if here.home_id else None
            session.flush()
        first = session.get_one(Template, home)
        if not zone_rows(session, template) and first.removed is None:
            first.removed = now()
        touch_storage(session, zone_id)


def waiting_volume(session: Session, home: str, zones: Sequence[str]) -> str | None:
    """The name of a volume in these zones that is still to be made of a template; None if none is."""
    query = select(Volume.name).where(
        Volume.template_id == home,
        Volume.zone_id.in_(zones),
        Volume.removed.is_(None),
        Volume.state != "Ready",
    )
    return session.scalar(query.limit(1))


def amounts_of(template: Template) -> limits.Amounts:
    """What a template, in one zone, counts as."""
    return {ResourceType.template: 1, ResourceType.secondary_storage: template.size}


def push_storage_if_running(runtime: Runtime, zone_id: str) -> None:
    """Bring the zone's storage VM up to date; the loop does so later with one that does not run."""
    with runtime.database.reading() as session:
        storage = session.scalar(
            select(Vm).where(Vm.kind == VmKind.storage, Vm.zone_id == zone_id, Vm.removed.is_(None))
        )
    if storage is not None and storage.state == "Running":
        push_machine(runtime, storage.id, storage.generation)
