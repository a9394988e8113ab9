"""Policies: snapshots of a volume by the clock, so many kept."""

from typing import Annotated, Any

from msgspec import Meta
from sqlalchemy import ColumnElement, select

from mgmt.api.absent import CustomId
from mgmt.api.access import EVERYONE, Ref, authorize
from mgmt.api.call import Call
from mgmt.api.commands.snapshots import volume_of_user
from mgmt.api.commands.tags import new_tag
from mgmt.api.lists import Equals, OwnedListCommand
from mgmt.api.params import NoEffect, unknown_entity, wrong_value
from mgmt.api.registry import DONE, AsyncCommand, Response, Spec, SyncCommand
from mgmt.api.responses.snapshots import SNAPSHOT_POLICY
from mgmt.model.configuration import SNAPSHOT_MOST
from mgmt.model.errors import ParameterError
from mgmt.model.schedules import Interval, Schedule, WrongSchedule, read_schedule
from mgmt.model.states import VolumeState
from mgmt.store.configured import configured
from mgmt.store.tables import Job, SnapshotPolicy, Volume

INTERVALS = {interval.name.upper(): interval for interval in Interval}
FORMS = "MM hourly, MM:HH daily, MM:HH:D weekly (1 is Sunday) or monthly (1 to 28)"


class ListSnapshotPolicies(OwnedListCommand, kw_only=True, frozen=True):
    """Lists snapshot policies."""

    spec = Spec(answer=SNAPSHOT_POLICY, access=EVERYONE)
    tag_type = "SnapshotPolicy"

    volumeid: Annotated[str | None, Ref(Volume), "only of this volume", Equals(SnapshotPolicy.volume_id)] = (
        None
    )
    fordisplay: Annotated[bool | None, NoEffect("all policies are their owners' to see")] = None

    def ownership(self, call: Call) -> ColumnElement[bool] | None:
        """Whoever may have the volume sees its policies, whosever they are."""
        return None if self.volumeid is not None else super().ownership(call)


class CreateSnapshotPolicy(SyncCommand, kw_only=True, frozen=True):
    """Creates a policy, or changes the volume's policy of that interval."""

    spec = Spec(answer=SNAPSHOT_POLICY, access=EVERYONE, event="SNAPSHOTPOLICY.CREATE")

    volumeid: Annotated[str, Ref(Volume), "the volume"]
    intervaltype: Annotated[str, ", ".join(INTERVALS)]
    schedule: Annotated[str, FORMS]
    timezone: Annotated[str, "the time zone of the schedule, as Europe/Berlin"]
    maxsnaps: Annotated[int, "so many are kept; older ones are deleted", Meta(ge=1, le=10000)]
    fordisplay: Annotated[bool, NoEffect("the policy is its owner's to see")] = True
    tags: Annotated[dict[str, str] | None, "tags[0].key=…&tags[0].value=…"] = None

    def run(self, call: Call) -> SnapshotPolicy:
        """Its first snapshot comes at the next moment of the schedule."""
        volume = volume_of_user(call, self.volumeid)
        if volume.state == VolumeState.destroy:
            raise ParameterError(f"Volume {volume.name} is {volume.state}")
        interval = INTERVALS.get(self.intervaltype.upper())
        if interval is None:
            raise wrong_value("intervaltype", self.intervaltype, ", ".join(INTERVALS))
        schedule = _schedule(interval, self.schedule, self.timezone)
        _check_most(call, interval, self.maxsnaps)
        row = call.session.scalar(
            select(SnapshotPolicy).where(
                SnapshotPolicy.volume_id == volume.id,
                SnapshotPolicy.interval == interval,
                SnapshotPolicy.removed.is_(None),
            )
        )
        due = schedule.next_after(call.now())
        if row is None:
            row = SnapshotPolicy(
                account_id=volume.account_id,
                domain_id=volume.domain_id,
                volume_id=volume.id,
                interval=interval,
                schedule=self.schedule,
                most=self.maxsnaps,
                next_run=due,
            )
            call.session.add(row)
            call.session.flush()
        row.schedule, row.timezone, row.most, row.next_run = self.schedule, self.timezone, self.maxsnaps, due
        for key, value in (self.tags or {}).items():
            call.session.add(new_tag(call, "SnapshotPolicy", row, key, value))
        return row


class UpdateSnapshotPolicy(AsyncCommand, kw_only=True, frozen=True):
    """Updates a policy's schedule, or how many snapshots it keeps."""

    spec = Spec(answer=SNAPSHOT_POLICY, access=EVERYONE, event="SNAPSHOTPOLICY.UPDATE")

    id: Annotated[str, Ref(SnapshotPolicy)]
    schedule: Annotated[str | None, FORMS] = None
    timezone: Annotated[str | None, "the time zone of the schedule, as Europe/Berlin"] = None
    maxsnaps: Annotated[int | None, "so many are kept", Meta(ge=1, le=10000)] = None
    fordisplay: Annotated[bool | None, NoEffect("the policy is its owner's to see")] = None
    customid: CustomId = None

    def run(self, call: Call) -> Job:
        """Done at once."""
        row = call.row(SnapshotPolicy, self.id)
        interval = Interval(row.interval)
        text, zone = self.schedule or row.schedule, self.timezone or row.timezone
        if self.schedule is not None or self.timezone is not None:
            row.next_run = _schedule(interval, text, zone).next_after(call.now())
            row.schedule, row.timezone = text, zone
        if self.maxsnaps is not None:
            _check_most(call, interval, self.maxsnaps)
            row.most = self.maxsnaps
        return call.finish(kind="SnapshotPolicy", about=row)


class DeleteSnapshotPolicies(SyncCommand, kw_only=True, frozen=True):
    """Deletes policies; the snapshots that they took stay."""

    spec = Spec(access=EVERYONE, event="SNAPSHOTPOLICY.DELETE")

    id: Annotated[str | None, Ref(SnapshotPolicy)] = None
    ids: Annotated[list[str] | None, "the IDs of the policies, comma separated"] = None

    def run(self, call: Call) -> Response:
        """All or none."""
        rows: list[Any] = [call.row(SnapshotPolicy, self.id)] if self.id is not None else []
        rows += [_find(call, policy_id) for policy_id in self.ids or ()]
        if not rows:
            raise ParameterError("Send id or ids of the policies to delete")
        for row in rows:
            row.removed = call.now()
        return DONE


def _find(call: Call, policy_id: str) -> SnapshotPolicy:
    row = call.session.get(SnapshotPolicy, policy_id.lower())
    if row is None or row.removed is not None:
        raise unknown_entity("ids", policy_id)
    authorize(call.caller, call.session, row, use=False)
    return row


def _schedule(interval: Interval, text: str, timezone: str) -> Schedule:
    try:
        return read_schedule(interval, text, timezone)
    except WrongSchedule as error:
        raise ParameterError(str(error)) from None


def _check_most(call: Call, interval: Interval, wanted: int) -> None:
    item = SNAPSHOT_MOST[interval.name]
    most = configured(call.session, item)
    if wanted > most:
        raise wrong_value("maxsnaps", str(wanted), f"at most {most} ({item.name})")
