"""Snapshots of volumes, kept by the zone's storage VM."""

from typing import Annotated, Any

from sqlalchemy import Select

from mgmt.api.access import EVERYONE, Ref
from mgmt.api.call import Call
from mgmt.api.commands.tags import new_tag
from mgmt.api.lists import Equals, OwnedListCommand
from mgmt.api.ownership import OwnerAccount, OwnerDomain
from mgmt.api.params import NoEffect, unknown_entity, wrong_value
from mgmt.api.registry import AsyncCommand, Spec
from mgmt.api.responses.snapshots import LOCATION, SNAPSHOT
from mgmt.model.errors import InUse, ParameterError
from mgmt.model.schedules import Interval
from mgmt.model.states import SnapshotState, VmKind, VmState, VolumeState
from mgmt.ops import names
from mgmt.ops.compute.vm_snapshots import refuse_with_snapshots
from mgmt.ops.storage.snapshot_rows import MANUAL, new_snapshot, turn_of
from mgmt.ops.storage.snapshots import needed_by
from mgmt.store.tables import Job, Snapshot, SnapshotPolicy, Vm, Volume, Zone

INTERVALS = tuple(interval.name.upper() for interval in Interval)
BUSY = (SnapshotState.allocated, SnapshotState.creating, SnapshotState.backing_up)


class ListSnapshots(OwnedListCommand, kw_only=True, frozen=True):
    """Lists snapshots."""

    spec = Spec(answer=SNAPSHOT, access=EVERYONE)
    searched = (Snapshot.name,)
    tag_type = "Snapshot"

    name: Annotated[str | None, Equals(Snapshot.name)] = None
    volumeid: Annotated[str | None, Ref(Volume), "only of this volume", Equals(Snapshot.volume_id)] = None
    zoneid: Annotated[str | None, Ref(Zone, use=True), Equals(Snapshot.zone_id)] = None
    snapshottype: Annotated[str | None, "MANUAL or RECURRING"] = None
    intervaltype: Annotated[str | None, f"of policies: {', '.join(INTERVALS)}"] = None
    locationtype: Annotated[str | None, f"where they are: {LOCATION}"] = None
    showunique: Annotated[bool, NoEffect("every snapshot is in one zone here")] = False

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """By who asked for them."""
        if self.snapshottype is not None:
            word = self.snapshottype.upper()
            if word not in (MANUAL, "RECURRING", *INTERVALS):
                raise wrong_value("snapshottype", self.snapshottype, "MANUAL or RECURRING")
            is_manual = Snapshot.kind == MANUAL
            kinds = {MANUAL: is_manual, "RECURRING": ~is_manual}
            query = query.where(kinds.get(word, Snapshot.kind == word))
        if self.intervaltype is not None:
            if self.intervaltype.upper() not in INTERVALS:
                raise wrong_value("intervaltype", self.intervaltype, ", ".join(INTERVALS))
            query = query.where(Snapshot.kind == self.intervaltype.upper())
        if self.locationtype is not None and self.locationtype.upper() != LOCATION:
            query = query.where(Snapshot.id.is_(None))
        return query


class CreateSnapshot(AsyncCommand, kw_only=True, frozen=True):
    """Takes a snapshot of a volume; a running VM goes on, and its snapshot is as after a power cut."""

    spec = Spec(answer=SNAPSHOT, access=EVERYONE, event="SNAPSHOT.CREATE")
    creates = True

    volumeid: Annotated[str, Ref(Volume), "the volume"]
    name: str | None = None
    policyid: Annotated[str | None, Ref(SnapshotPolicy), "as one of this policy of the volume"] = None
    locationtype: Annotated[str | None, f"where it is kept: {LOCATION}"] = None
    quiescevm: Annotated[bool, "not supported: flush the guest's file systems inside"] = False
    asyncbackup: Annotated[bool, NoEffect("the job ends when the storage VM has the snapshot")] = False
    tags: Annotated[dict[str, str] | None, "tags[0].key=…&tags[0].value=…"] = None
    account: OwnerAccount = None
    domainid: OwnerDomain = None

    def run(self, call: Call) -> Job:
        """Check and insert."""
        volume = volume_of_user(call, self.volumeid)
        if self.quiescevm:
            raise ParameterError(
                "quiescevm=true is not supported: run fsfreeze or sync in the guest before, or stop the VM"
            )
        if self.locationtype is not None and self.locationtype.upper() != LOCATION:
            raise wrong_value("locationtype", self.locationtype, LOCATION)
        if self.account is not None and call.owner.account.id != volume.account_id:
            raise ParameterError(f"Volume {volume.name} is another account's, and so are its snapshots")
        check_copyable(call, volume)
        policy = call.row_or_none(SnapshotPolicy, self.policyid)
        if policy is not None and policy.volume_id != volume.id:
            raise ParameterError(f"Policy {policy.id} is not of volume {volume.name}")
        row = new_snapshot(call.session, volume, call.now(), name=self.name, policy=policy)
        for key, value in (self.tags or {}).items():
            call.session.add(new_tag(call, "Snapshot", row, key, value))
        job = call.submit(names.TAKE_SNAPSHOT, {"snapshot_id": row.id}, kind="Snapshot", about=row)
        job.lock_key = turn_of(volume)
        return job


class DeleteSnapshot(AsyncCommand, kw_only=True, frozen=True):
    """Deletes a snapshot; volumes and templates that were made of it stay."""

    spec = Spec(access=EVERYONE, event="SNAPSHOT.DELETE")

    id: Annotated[str, Ref(Snapshot)]
    zoneid: Annotated[str | None, Ref(Zone, use=True)] = None

    def run(self, call: Call) -> Job:
        """Refuse while it is being taken, or needed."""
        row = call.row(Snapshot, self.id)
        if row.state in BUSY:
            raise InUse(f"Snapshot {row.name} is {row.state}; wait until it is BackedUp")
        if reason := needed_by(call.session, row.id):
            raise InUse(f"Snapshot {row.name} is needed by {reason}")
        if self.zoneid not in (None, row.zone_id):
            raise ParameterError(f"Snapshot {row.name} is not in zone {self.zoneid}")
        return call.submit(names.DELETE_SNAPSHOT, {"snapshot_id": row.id}, kind="Snapshot", about=row)


class RevertSnapshot(AsyncCommand, kw_only=True, frozen=True):
    """Gives a volume the content that it had; its VM must be stopped, and what came later is lost."""

    spec = Spec(answer=SNAPSHOT, access=EVERYONE, event="SNAPSHOT.REVERT")

    id: Annotated[str, Ref(Snapshot)]

    def run(self, call: Call) -> Job:
        """Refuse while a VM runs with the volume."""
        row = call.row(Snapshot, self.id)
        check_kept(row)
        volume = call.session.get_one(Volume, row.volume_id)
        if volume.removed is not None or volume.state != VolumeState.ready:
            raise ParameterError(f"Snapshot {row.name}: its volume is gone; make a new one of the snapshot")
        refuse_running(call, volume)
        vm = call.session.get(Vm, volume.vm_id) if volume.vm_id else None
        if vm is not None:  # they lie in the file that is replaced
            refuse_with_snapshots(call.session, vm, "none of its volumes can be reverted alone")
        job = call.submit(names.REVERT_SNAPSHOT, {"snapshot_id": row.id}, kind="Snapshot", about=row)
        job.lock_key = turn_of(volume)
        return job


def volume_of_user(call: Call, volume_id: str, parameter: str = "volumeid") -> Volume:
    """The volume of an id; those of system VMs are nobody's."""
    row = call.row(Volume, volume_id)
    vm = call.session.get(Vm, row.vm_id) if row.vm_id else None
    if vm is not None and vm.kind != VmKind.user:
        raise unknown_entity(parameter, volume_id)
    return row


def check_copyable(call: Call, volume: Volume) -> None:
    """Raise ParameterError unless a volume has content, and its VM is at rest or runs."""
    if volume.state != VolumeState.ready:
        words = "it has content only once its VM started, or it was attached"
        raise ParameterError(f"Volume {volume.name} is {volume.state}: {words}")
    vm = call.session.get(Vm, volume.vm_id) if volume.vm_id else None
    if vm is not None and vm.state not in (VmState.running, VmState.stopped, VmState.destroyed):
        raise ParameterError(f"VM {vm.name} is {vm.state}; try again when it is Running or Stopped")


def refuse_running(call: Call, volume: Volume) -> None:
    """Raise ParameterError unless the volume is detached, or its VM stopped."""
    vm = call.session.get(Vm, volume.vm_id) if volume.vm_id else None
    if vm is not None and vm.state != VmState.stopped:
        raise ParameterError(f"VM {vm.name} is {vm.state}: stop it, or detach volume {volume.name}")


def check_kept(row: Snapshot) -> None:
    """Raise ParameterError unless the storage VM has it."""
    if row.state != SnapshotState.backed_up:
        raise ParameterError(f"Snapshot {row.name} is {row.state}; only BackedUp ones have content")
