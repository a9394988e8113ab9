"""What storage VMs keep, against the rows of templates and snapshots that say what they should keep."""

from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.agents.errors import AgentError
from mgmt.doctor.finding import Finding
from mgmt.model.errors import CloudError
from mgmt.model.states import SnapshotState, TemplateState, VmKind, VmState, VolumeState
from mgmt.ops.endpoints import machine_agent
from mgmt.ops.runtime import Runtime
from mgmt.ops.storage.kept_volumes import volumes_kept
from mgmt.store.tables import Snapshot, Template, Vm, Volume
from systemvm.spec.appliances import TemplateState as Kept
from systemvm.spec.appliances import TemplateStatus


def examine_storage(runtime: Runtime, session: Session, busy: set[str]) -> Iterator[Finding]:
    """Contradictions between storage VMs and the rows; one that does not answer is found elsewhere."""
    running = select(Vm).where(Vm.kind == VmKind.storage, Vm.state == VmState.running, Vm.removed.is_(None))
    for vm in session.scalars(running):
        try:
            agent = machine_agent(runtime, session, vm)
            statuses = agent.read("storage/templates", list[TemplateStatus])
        except (AgentError, CloudError):
            continue
        kept = {status.id: status for status in statuses}
        yield from _missing(session, vm, kept, busy)
        # A document that is not there yet may list less.
        if vm.applied >= vm.generation and vm.id not in busy:
            yield from _unknown(session, vm, set(kept) - busy)


def _missing(session: Session, vm: Vm, kept: dict[str, TemplateStatus], busy: set[str]) -> Iterator[Finding]:
    templates = select(Template).where(
        Template.zone_id == vm.zone_id, Template.removed.is_(None), Template.state == TemplateState.ready
    )
    snapshots = select(Snapshot).where(
        Snapshot.zone_id == vm.zone_id,
        Snapshot.removed.is_(None),
        Snapshot.state == SnapshotState.backed_up,
    )
    volumes = select(Volume).where(
        Volume.zone_id == vm.zone_id, Volume.removed.is_(None), Volume.state == VolumeState.uploaded
    )
    rows: list[Template | Snapshot | Volume] = [
        *session.scalars(templates),
        *session.scalars(snapshots),
        *session.scalars(volumes),
    ]
    for row in rows:
        status = kept.get(row.id)
        if row.id in busy or (status is not None and status.state is Kept.ready):
            continue
        what = "knows nothing of it" if status is None else f"says {status.state}: {status.error}"
        problem = f"is {row.state}, but storage VM {vm.name} {what}"
        repair = "wait for the next look; if it stays, delete it and make it anew"
        yield Finding(row.__tablename__, row.id, row.name, problem, repair)


def _unknown(session: Session, vm: Vm, ids: set[str]) -> Iterator[Finding]:
    known = set(session.scalars(select(Template.id).where(Template.removed.is_(None))))
    known |= set(session.scalars(select(Snapshot.id).where(Snapshot.removed.is_(None))))
    known |= {image.id for image in volumes_kept(session, vm.zone_id)}
    for image_id in sorted(ids - known):
        problem = f"is kept by storage VM {vm.name}, but is no template, snapshot or volume of the cloud"
        yield Finding(
            "image", image_id, image_id, problem, "wait for the next look, or reboot the storage VM"
        )
