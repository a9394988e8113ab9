"""What an account owns, a project's own account too: removed for good, one object after the other."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, delete, func, or_, select, true, update
from sqlalchemy.orm import Session

from mgmt.model.configuration import Scope
from mgmt.model.errors import InUse
from mgmt.model.states import AddressState, JobStatus, TemplateState, VmKind
from mgmt.ops.compute import vm_workflows
from mgmt.ops.compute.isos import detach_iso
from mgmt.ops.images.kept_templates import leave_to_system
from mgmt.ops.images.templates import delete_template
from mgmt.ops.network import networks
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga
from mgmt.ops.storage.snapshots import delete_snapshot
from mgmt.ops.storage.volumes import delete_volume
from mgmt.store.tables import (
    AffinityGroup,
    Annotation,
    ConfigurationValue,
    Dedication,
    InstanceGroup,
    Job,
    Network,
    PublicAddress,
    ResourceCount,
    ResourceLimit,
    Snapshot,
    SnapshotPolicy,
    SshKeyPair,
    Tag,
    Template,
    TemplatePermission,
    UserData,
    VlanRange,
    Vm,
    VmSnapshot,
    Volume,
)

#: What is a row and nothing else: it goes with its owner.
ROWS: tuple[Any, ...] = (
    *(SshKeyPair, UserData, InstanceGroup, AffinityGroup, SnapshotPolicy, Tag, Annotation, Dedication),
)
#: What jobs are about that the owner's end waits for.
BUSY: tuple[Any, ...] = (Vm, VmSnapshot, Volume, Network, Snapshot, Template, PublicAddress)
#: Seconds that these jobs may take, and between two looks.
DEADLINE, _POLL = 1800.0, 1.0


@dataclass(frozen=True)
class Kind:
    """Objects that exist outside the database too: how they are found, and the workflow that ends one."""

    table: Any
    word: str
    remove: Callable[[Runtime, Saga, str], None]
    condition: Callable[[], ColumnElement[bool]] = true


def _remove_vm(runtime: Runtime, saga: Saga, vm_id: str) -> None:
    vm_workflows.destroy_vm(runtime, saga, vm_id=vm_id, expunge=True)


def _remove_volume(runtime: Runtime, saga: Saga, volume_id: str) -> None:
    delete_volume(runtime, saga, volume_id=volume_id)


def _remove_snapshot(runtime: Runtime, saga: Saga, snapshot_id: str) -> None:
    delete_snapshot(runtime, saga, snapshot_id=snapshot_id)


def _remove_template(runtime: Runtime, saga: Saga, template_id: str) -> None:
    for vm_id in saga.step("look which VMs have it in their drive", lambda: _drives(runtime, template_id)):
        detach_iso(runtime, saga, vm_id=vm_id)
    if saga.step("keep it for who needs it", lambda: leave_to_system(runtime, template_id)):
        return
    delete_template(runtime, saga, template_id=template_id)


def _no_machines() -> ColumnElement[bool]:
    """Not the disks of routers, which go with their networks."""
    machines = select(Vm.id).where(Vm.kind != VmKind.user)
    return or_(Volume.vm_id.is_(None), Volume.vm_id.not_in(machines))


#: In the order in which they go: a network's VMs before it.
KINDS = (
    Kind(Vm, "VM", _remove_vm, lambda: Vm.kind == VmKind.user),
    Kind(Volume, "volume", _remove_volume, _no_machines),
    Kind(Network, "network", networks.delete),
    Kind(Snapshot, "snapshot", _remove_snapshot),
    Kind(Template, "template", _remove_template, lambda: Template.state != TemplateState.deleted),
)


def remove_all(runtime: Runtime, saga: Saga, account_id: str) -> None:
    """Steps that remove all that an account owns. What is removed stays so if a later part cannot be."""
    saga.step("end its snapshot policies", lambda: _end_policies(runtime, account_id))
    saga.step("wait for the jobs of what it owns", lambda: _wait(runtime, account_id))
    for kind in KINDS:
        owned = saga.step(f"look at its {kind.word}s", lambda kind=kind: _owned(runtime, kind, account_id))  # type: ignore[misc]
        for number, (row_id, name) in enumerate(owned, 1):
            with saga.nested(f"{kind.word} {name} ({number} of {len(owned)})") as inner:
                kind.remove(runtime, inner, row_id)


def counted(session: Session, account_id: str) -> str:
    """What an account owns that is not a mere row, in words; empty if nothing."""
    amounts = [
        (session.scalar(_of(kind, account_id, func.count(kind.table.id))) or 0, kind.word) for kind in KINDS
    ]
    held = select(func.count(PublicAddress.id)).where(
        PublicAddress.account_id == account_id, PublicAddress.state != AddressState.free
    )
    amounts.append((session.scalar(held) or 0, "public IP address"))
    return ", ".join(f"{count} {word}(s)" for count, word in amounts if count)


def refuse_while_it_owns(session: Session, account_id: str, who: str, advice: str) -> None:
    """Raise InUse, with what it is, if an account owns anything that is not a mere row."""
    if there := counted(session, account_id):
        raise InUse(f"{who} still owns {there}: {advice}")


def remove_rows(session: Session, account_id: str, moment: datetime) -> None:
    """Remove what exists in the database only. Records of use, events and jobs stay: they are history."""
    of_user_data = select(UserData.id).where(UserData.account_id == account_id)
    unlink = update(Template).where(Template.user_data_id.in_(of_user_data))
    session.execute(unlink.values(user_data_id=None, user_data_policy=None))
    for table in ROWS:
        live = update(table).where(table.account_id == account_id, table.removed.is_(None))
        session.execute(live.values(removed=moment))
    ranges = update(VlanRange).where(VlanRange.account_id == account_id)
    session.execute(ranges.values(account_id=None, domain_id=None))
    session.execute(delete(TemplatePermission).where(TemplatePermission.account_id == account_id))
    remove_settings(session, Scope.account, account_id)


def remove_settings(session: Session, scope: Scope, owner_id: str) -> None:
    """Remove the configuration, limits and counts of an account or a domain that has nothing any more."""
    values = ConfigurationValue
    session.execute(delete(values).where(values.scope == scope, values.scope_id == owner_id))
    for table in (ResourceLimit, ResourceCount):
        session.execute(delete(table).where(table.owner_id == owner_id))


def _of(kind: Kind, account_id: str, *what: Any) -> Any:
    table = kind.table
    return select(*what).where(table.account_id == account_id, table.removed.is_(None), kind.condition())


def _owned(runtime: Runtime, kind: Kind, account_id: str) -> list[list[str]]:
    table = kind.table
    query = _of(kind, account_id, table.id, table.name).order_by(table.created, table.id)
    with runtime.database.reading() as session:
        return [list(row) for row in session.execute(query)]


def _drives(runtime: Runtime, iso_id: str) -> list[str]:
    with runtime.database.reading() as session:
        return list(session.scalars(select(Vm.id).where(Vm.iso_id == iso_id, Vm.removed.is_(None))))


def _end_policies(runtime: Runtime, account_id: str) -> None:
    """No snapshot is begun any more while the others go."""
    policies = update(SnapshotPolicy).where(
        SnapshotPolicy.account_id == account_id, SnapshotPolicy.removed.is_(None)
    )
    with runtime.database.writing() as session:
        session.execute(policies.values(removed=runtime.now()))


def _wait(runtime: Runtime, account_id: str) -> None:
    """Jobs that were asked for before end before what they are about does. Raises InUse."""
    waited = 0.0
    while jobs := _running(runtime, account_id):
        if waited >= DEADLINE:
            raise InUse(f"{len(jobs)} job(s) about what it owns still run, as {jobs[0]}: try again later")
        runtime.sleep(_POLL)
        waited += _POLL


def _running(runtime: Runtime, account_id: str) -> list[str]:
    with runtime.database.reading() as session:
        pending = session.execute(
            select(Job.instance_id, Job.command).where(Job.status == JobStatus.pending)
        ).all()
        names = {str(row_id): command for row_id, command in pending if row_id is not None}
        found: list[str] = []
        for table in BUSY if names else ():
            mine = select(table.id).where(table.account_id == account_id, table.id.in_(names))
            found += [names[row_id] for row_id in session.scalars(mine)]
        return found
