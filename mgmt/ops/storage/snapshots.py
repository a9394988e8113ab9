"""Snapshots: a volume at one moment, kept by the zone's storage VM; and the way back into a volume."""

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mgmt.alloc import limits
from mgmt.model.errors import InUse, ParameterError, Unavailable
from mgmt.model.resources import ResourceType
from mgmt.model.states import SnapshotState, TemplateState, VmState, VolumeState
from mgmt.ops.compute.domains import pull_snapshot
from mgmt.ops.images import image_copies
from mgmt.ops.images.templates import push_storage_if_running, touch_storage
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga, StepFailed
from mgmt.ops.storage.volumes import put_file
from mgmt.store.tables import Account, Snapshot, SnapshotPolicy, Template, Vm, Volume
from mgmt.store.tables.base import now


def take_snapshot(runtime: Runtime, saga: Saga, *, snapshot_id: str) -> None:
    """Make the content of a snapshot whose row the caller inserted. On failure it is in state Error, and says
    why."""
    try:
        _take(runtime, saga, snapshot_id)
    except StepFailed as failure:
        reason = str(failure)
        saga.step("note why it failed", lambda: _note_reason(runtime, snapshot_id, reason))
        raise


def _take(runtime: Runtime, saga: Saga, snapshot_id: str) -> None:
    place: dict[str, Any] = saga.step("look at the snapshot", lambda: _look(runtime, snapshot_id))
    saga.on_failure("take the snapshot", lambda: _fail(runtime, snapshot_id))
    saga.step("list it in the storage VM", lambda: _announce(runtime, snapshot_id, place["zone_id"]))
    saga.step(
        "copy the volume to the storage VM",
        lambda: image_copies.send_volume(
            runtime,
            place["volume_id"],
            snapshot_id,
            lambda: _set_state(runtime, snapshot_id, SnapshotState.backing_up),
        ),
    )
    saga.step("keep the snapshot", lambda: _keep(runtime, snapshot_id, place["zone_id"]))
    saga.step(
        "tidy up on the host",
        lambda: image_copies.forget_copy(runtime, place["volume_id"], snapshot_id),
    )
    saga.step("delete what its policy keeps no longer", lambda: _expire(runtime, snapshot_id))


def delete_snapshot(runtime: Runtime, saga: Saga, *, snapshot_id: str) -> None:
    """Remove a snapshot; what was made of it stays."""
    zone_id: str = saga.step("remove the snapshot", lambda: _remove(runtime, snapshot_id))
    saga.step("configure the storage VM", lambda: push_storage_if_running(runtime, zone_id))


def revert_snapshot(runtime: Runtime, saga: Saga, *, snapshot_id: str) -> None:
    """Give the snapshot's volume the content of the snapshot; no VM may run with it."""
    saga.step("put the content back", lambda: _revert(runtime, snapshot_id))


def kept_only_by(session: Session, zone_id: str) -> str:
    """What only a zone's storage VM has and nobody can fetch anew, in words; empty if nothing."""
    of_zone = (Snapshot.zone_id == zone_id, Snapshot.removed.is_(None))
    snapshots = select(func.count(Snapshot.id)).where(*of_zone, Snapshot.state == SnapshotState.backed_up)
    templates = select(func.count(Template.id)).where(
        Template.zone_id == zone_id,
        Template.removed.is_(None),
        Template.url == "",
        Template.state == TemplateState.ready,
    )
    brought = select(func.count(Volume.id)).where(
        Volume.zone_id == zone_id, Volume.removed.is_(None), Volume.state == VolumeState.uploaded
    )
    counts = (
        ("snapshots", session.scalar(snapshots)),
        ("made or uploaded templates", session.scalar(templates)),
        ("uploaded volumes", session.scalar(brought)),
    )
    return " and ".join(f"{count} {word}" for word, count in counts if count)


def needed_by(session: Session, snapshot_id: str) -> str:
    """What is still to be made of a snapshot, in words; empty if nothing."""
    volume = session.scalar(
        select(Volume.name)
        .where(
            Volume.snapshot_id == snapshot_id,
            Volume.removed.is_(None),
            Volume.state != VolumeState.ready,
        )
        .limit(1)
    )
    if volume is not None:
        return f"volume {volume}, which is made when it is attached for the first time"
    template = session.scalar(
        select(Template.name)
        .where(
            Template.source_id == snapshot_id,
            Template.removed.is_(None),
            Template.state == TemplateState.downloading,
        )
        .limit(1)
    )
    return f"template {template}, which is being made" if template is not None else ""


def remove_row(session: Session, snapshot: Snapshot) -> None:
    """Remove a snapshot's row; the storage VM is to be told."""
    if snapshot.removed is not None:
        return
    if snapshot.state != SnapshotState.error:
        account = session.get_one(Account, snapshot.account_id)
        amounts = {ResourceType.snapshot: 1, ResourceType.secondary_storage: snapshot.physical_size}
        limits.release_all(session, account, amounts)
    snapshot.state, snapshot.removed = SnapshotState.destroyed, now()
    touch_storage(session, snapshot.zone_id)


def _look(runtime: Runtime, snapshot_id: str) -> dict[str, Any]:
    with runtime.database.reading() as session:
        snapshot = session.get_one(Snapshot, snapshot_id)
        return {"zone_id": snapshot.zone_id, "volume_id": snapshot.volume_id}


def _announce(runtime: Runtime, snapshot_id: str, zone_id: str) -> None:
    with runtime.database.writing() as session:
        session.get_one(Snapshot, snapshot_id).state = SnapshotState.creating
        touch_storage(session, zone_id)
    image_copies.push_storage(runtime, zone_id)


def _set_state(runtime: Runtime, snapshot_id: str, state: SnapshotState) -> None:
    with runtime.database.writing() as session:
        session.get_one(Snapshot, snapshot_id).state = state


def _note_reason(runtime: Runtime, snapshot_id: str, reason: str) -> None:
    with runtime.database.writing() as session:
        session.get_one(Snapshot, snapshot_id).reason = reason


def _keep(runtime: Runtime, snapshot_id: str, zone_id: str) -> None:
    status = image_copies.wait_until_judged(runtime, zone_id, snapshot_id)
    with runtime.database.writing() as session:
        snapshot = session.get_one(Snapshot, snapshot_id)
        if snapshot.state == SnapshotState.backed_up:
            return
        # Known only now; an owner over the limit takes no other one.
        account = session.get_one(Account, snapshot.account_id)
        limits.count_all(session, account, {ResourceType.secondary_storage: status.size})
        snapshot.state, snapshot.physical_size = SnapshotState.backed_up, status.size
        snapshot.size, snapshot.sha256 = status.virtual_size, status.sha256


def _fail(runtime: Runtime, snapshot_id: str) -> None:
    with runtime.database.reading() as session:
        snapshot = session.get_one(Snapshot, snapshot_id)
    image_copies.forget_copy(runtime, snapshot.volume_id, snapshot_id)
    with runtime.database.writing() as session:
        snapshot = session.get_one(Snapshot, snapshot_id)
        if snapshot.state != SnapshotState.error:
            account = session.get_one(Account, snapshot.account_id)
            amounts = {ResourceType.snapshot: 1, ResourceType.secondary_storage: snapshot.physical_size}
            limits.release_all(session, account, amounts)
            snapshot.state, snapshot.physical_size = SnapshotState.error, 0
            touch_storage(session, snapshot.zone_id)
    push_storage_if_running(runtime, snapshot.zone_id)


def _expire(runtime: Runtime, snapshot_id: str) -> None:
    """The oldest of a policy go, once the new one is there; what is needed stays for the next time."""
    with runtime.database.writing() as session:
        snapshot = session.get_one(Snapshot, snapshot_id)
        policy = session.get(SnapshotPolicy, snapshot.policy_id) if snapshot.policy_id else None
        if policy is None or policy.removed is not None:
            return
        zone_id = snapshot.zone_id
        of_policy = select(Snapshot).where(
            Snapshot.policy_id == policy.id,
            Snapshot.removed.is_(None),
            Snapshot.state == SnapshotState.backed_up,
        )
        newest_first = of_policy.order_by(Snapshot.created.desc(), Snapshot.id.desc())
        for old in session.scalars(newest_first.offset(policy.most)).all():
            if old.id != snapshot_id and not needed_by(session, old.id):
                remove_row(session, old)
    push_storage_if_running(runtime, zone_id)


def _remove(runtime: Runtime, snapshot_id: str) -> str:
    with runtime.database.writing() as session:
        snapshot = session.get_one(Snapshot, snapshot_id)
        if reason := needed_by(session, snapshot_id):
            raise InUse(f"snapshot {snapshot.name} is needed by {reason}")
        remove_row(session, snapshot)
        return snapshot.zone_id


def _revert(runtime: Runtime, snapshot_id: str) -> None:
    with runtime.database.reading() as session:
        snapshot = session.get_one(Snapshot, snapshot_id)
        volume = session.get_one(Volume, snapshot.volume_id)
        vm = session.get(Vm, volume.vm_id) if volume.vm_id else None
        if vm is not None and vm.state != VmState.stopped:
            raise ParameterError(f"VM {vm.name} is {vm.state}: stop it before its volume is reverted")
        if volume.removed is not None or volume.state != VolumeState.ready:
            raise Unavailable(f"volume {volume.name} has no file any more")
        base = pull_snapshot(runtime, session, snapshot)
    put_file(runtime, volume.id, replace_by=base)
