"""Spans of usage, opened and closed in the very transaction that changes what is used.

Whoever changes a VM, a volume, an address, a template or a snapshot says nothing about usage: before its
rows are written, they are compared here with the spans that are open for them. So no place can forget it,
and a change that is rolled back leaves no span.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, event, inspect, select
from sqlalchemy.orm import Session

from mgmt.model.states import AddressState, TemplateState, VmKind, VmSnapshotState, VmState
from mgmt.model.usage import UsageType
from mgmt.store.tables import PublicAddress, Snapshot, Template, UsageSpan, Vm, VmSnapshot, Volume
from mgmt.store.tables.base import now

NO_VM = (VmState.destroyed, VmState.expunging, VmState.error)
NO_VOLUME = ("Destroy", "UploadError")
BACKED_UP = "BackedUp"
WATCHED: dict[type[Any], tuple[str, ...]] = {
    Vm: ("state", "removed", "offering_id", "account_id", "cpus", "cpu_speed", "memory"),
    Volume: ("state", "removed", "size", "offering_id", "account_id", "vm_id"),
    PublicAddress: ("state", "removed", "account_id", "is_system"),
    Template: ("state", "removed", "size", "account_id"),
    Snapshot: ("state", "removed", "physical_size", "account_id"),
    VmSnapshot: ("state", "removed", "account_id"),
}
"""The columns that decide what is used."""

_RUNNING = frozenset({VmState.running, VmState.stopping, VmState.migrating})
_VMS_ALIKE = (frozenset(NO_VM), _RUNNING, frozenset(VmState) - {*NO_VM, *_RUNNING})
"""States of a tenant's VM between which its use does not change."""
_OPEN = select(UsageSpan).where(
    UsageSpan.resource_id.in_(bindparam("ids", expanding=True)), UsageSpan.ended.is_(None)
)


@dataclass(frozen=True)
class Use:
    """A kind of usage of a resource by an account; another size, offering or owner is another use."""

    type: UsageType
    account_id: str
    domain_id: str
    size: int = 0
    offering_id: str | None = None
    template_id: str | None = None
    chosen: tuple[int | None, int | None, int | None] = (None, None, None)
    """CPUs, MHz and MiB, where the offering leaves them to the user."""


def watch_usage(session_class: type[Session]) -> None:
    """Have all sessions of a class keep the spans true."""
    event.listen(session_class, "before_flush", _before_flush)


def note_usage(session: Session, *rows: Any) -> None:
    """Compare rows with their open spans now: for rows that a plain UPDATE changed, which nobody sees."""
    if not rows:
        return
    fresh = _fresh_vms(session)
    spans: dict[str, list[UsageSpan]] = defaultdict(list)
    with session.no_autoflush:
        pending = [item for item in session.new if isinstance(item, UsageSpan) and item.ended is None]
        for span in [*session.scalars(_OPEN, {"ids": [row.id for row in rows]}), *pending]:
            spans[span.resource_id].append(span)
        for row in rows:
            _compare(session, row, spans[row.id], fresh)


def _before_flush(session: Session, *_: object) -> None:
    fresh = _fresh_vms(session)
    with session.no_autoflush:
        for row in [item for item in session.new if type(item) in WATCHED]:
            for use in _uses(session, row, fresh):
                session.add(_span(row, use))
    note_usage(session, *(row for row in _changed(session.dirty) if not _is_used_alike(row)))


def _fresh_vms(session: Session) -> dict[str, Vm]:
    """VMs that are not written yet, which no query finds."""
    return {item.id: item for item in session.new if isinstance(item, Vm)}


def _changed(rows: Iterable[Any]) -> Iterator[Any]:
    for row in rows:
        attributes = inspect(row).attrs
        if any(attributes[name].history.has_changes() for name in WATCHED.get(type(row), ())):
            yield row


def _is_used_alike(row: Any) -> bool:
    """Whether a change of state leaves a VM's or a volume's use as it was, so that no span must be looked up.

    That is how most states change: a VM that starts does not run yet.
    """
    state, *others = (inspect(row).attrs[name].history for name in WATCHED[type(row)])
    if any(history.has_changes() for history in others) or not state.deleted:
        return False
    pair = {state.deleted[0], row.state}
    if isinstance(row, Vm):
        return row.kind != VmKind.user or any(pair <= alike for alike in _VMS_ALIKE)
    return isinstance(row, Volume) and pair.isdisjoint(NO_VOLUME)


def _compare(session: Session, row: Any, open_spans: list[UsageSpan], fresh: Mapping[str, Vm]) -> None:
    wanted = {*_uses(session, row, fresh)}
    for span in open_spans:
        use = _use_of(span)
        if use in wanted:
            wanted.discard(use)
        else:
            span.ended = max(now(), span.started)  # the clock may have gone back
    for use in wanted:
        session.add(_span(row, use))


def _use_of(span: UsageSpan) -> Use:
    return Use(
        UsageType(span.type),
        span.account_id,
        span.domain_id,
        span.size,
        span.offering_id,
        span.template_id,
        (span.cpus, span.cpu_speed, span.memory),
    )


def _span(row: Any, use: Use) -> UsageSpan:
    return UsageSpan(
        account_id=use.account_id,
        domain_id=use.domain_id,
        type=int(use.type),
        zone_id=row.zone_id,
        resource_id=row.id,
        name=row.address if isinstance(row, PublicAddress) else row.name,
        offering_id=use.offering_id,
        template_id=use.template_id,
        size=use.size,
        cpus=use.chosen[0],
        cpu_speed=use.chosen[1],
        memory=use.chosen[2],
        started=now(),
    )


def _uses(session: Session, row: Any, fresh: Mapping[str, Vm]) -> Iterator[Use]:
    """What a row means, as it is now."""
    if row.removed is not None or not row.account_id:
        return
    owner = (row.account_id, row.domain_id)
    if isinstance(row, Vm):
        yield from _of_vm(row)
    elif isinstance(row, Volume):
        if row.state not in NO_VOLUME and _is_guests(session, row, fresh):
            yield Use(UsageType.volume, *owner, row.size, row.offering_id, row.template_id)
    elif isinstance(row, PublicAddress):
        if row.state == AddressState.allocated and not row.is_system:
            yield Use(UsageType.public_address, *owner)
    elif isinstance(row, Template):
        if row.state == TemplateState.ready and not row.is_builtin:
            kind = UsageType.iso if row.kind == "iso" else UsageType.template
            yield Use(kind, *owner, row.size)
    else:
        yield from _of_snapshot(row)


def _of_snapshot(row: Snapshot | VmSnapshot) -> Iterator[Use]:
    owner = (row.account_id, row.domain_id)
    if isinstance(row, Snapshot):
        if row.state == BACKED_UP:
            yield Use(UsageType.snapshot, *owner, row.physical_size)
    elif row.state not in (VmSnapshotState.creating, VmSnapshotState.error):
        yield Use(UsageType.vm_snapshot, *owner, row.size)
        yield Use(UsageType.vm_snapshot_on_primary, *owner, row.physical_size)


def _of_vm(vm: Vm) -> Iterator[Use]:
    if vm.kind != VmKind.user or vm.state in NO_VM:
        return
    chosen = (vm.cpus, vm.cpu_speed, vm.memory)
    of_vm = (vm.account_id, vm.domain_id, 0, vm.offering_id, vm.template_id, chosen)
    yield Use(UsageType.allocated_vm, *of_vm)
    if vm.state in _RUNNING:
        yield Use(UsageType.running_vm, *of_vm)


def _is_guests(session: Session, volume: Volume, fresh: Mapping[str, Vm]) -> bool:
    """Whether a volume is not a system VM's."""
    if volume.vm_id is None:
        return True
    vm = fresh.get(volume.vm_id) or session.get(Vm, volume.vm_id)
    return vm is None or vm.kind == VmKind.user
