"""Snapshots by the clock: policies that are due become snapshots and their jobs.

A policy that was due several times while nobody looked runs once. Its next moment is written together with
the snapshot's row and job, so that neither a crash nor a second server runs it twice.
"""

import logging
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.jobs.protocol import new_job
from mgmt.model.errors import CloudError, ParameterError
from mgmt.model.schedules import Interval, read_schedule
from mgmt.model.states import VmState, VolumeState
from mgmt.ops import names
from mgmt.ops.machines.system_vms import SYSTEM_ACCOUNT
from mgmt.ops.runtime import Runtime
from mgmt.ops.storage.snapshot_rows import new_snapshot, turn_of
from mgmt.store.events import record_event, start_event_id
from mgmt.store.tables import Account, SnapshotPolicy, User, Vm, Volume

log = logging.getLogger(__name__)
#: Policies that one round starts; the others' turn comes with the next.
MOST_AT_ONCE = 50
EVENT = "SNAPSHOT.CREATE"


def run_policies(runtime: Runtime) -> int:
    """Write snapshots and jobs of all policies that are due; how many. The jobs are still to be started."""
    moment = runtime.now()
    with runtime.database.reading() as session:
        due = select(SnapshotPolicy.id).where(
            SnapshotPolicy.next_run <= moment, SnapshotPolicy.removed.is_(None)
        )
        policy_ids = session.scalars(due.order_by(SnapshotPolicy.next_run).limit(MOST_AT_ONCE)).all()
    return sum(_run(runtime, policy_id) for policy_id in policy_ids)


def bring_near(session: Session, moment: datetime) -> None:
    """Policies whose next run is further away than their schedule says: the clock was ahead and went back."""
    for policy in session.scalars(select(SnapshotPolicy).where(SnapshotPolicy.removed.is_(None))):
        schedule = read_schedule(Interval(policy.interval), policy.schedule, policy.timezone)
        policy.next_run = min(policy.next_run, schedule.next_after(moment))


def _run(runtime: Runtime, policy_id: str) -> int:
    moment = runtime.now()
    with runtime.database.writing() as session:
        # Locked: another server may look at the same moment.
        policy = session.get_one(SnapshotPolicy, policy_id, with_for_update=True, populate_existing=True)
        if policy.removed is not None or policy.next_run > moment:
            return 0
        volume = session.get_one(Volume, policy.volume_id)
        if volume.removed is not None:
            policy.removed = moment
            log.info("snapshot policy %s ends, because its volume %s is gone", policy.id, volume.name)
            return 0
        schedule = read_schedule(Interval(policy.interval), policy.schedule, policy.timezone)
        policy.next_run = schedule.next_after(moment)
        try:
            _check(session, volume)
            _order(session, runtime, policy, volume)
        except CloudError as error:
            _say(session, volume, f"policy's snapshot of volume {volume.name} left out: {error}")
            return 0
        log.info("snapshot of volume %s begins, because its policy is due", volume.name)
        return 1


def _check(session: Session, volume: Volume) -> None:
    """Raise ParameterError where there is nothing to take a snapshot of at the moment."""
    vm = session.get(Vm, volume.vm_id) if volume.vm_id else None
    if volume.state != VolumeState.ready:
        raise ParameterError(f"the volume is {volume.state}")
    if vm is not None and vm.state not in (VmState.running, VmState.stopped):
        raise ParameterError(f"its VM is {vm.state}")


def _order(session: Session, runtime: Runtime, policy: SnapshotPolicy, volume: Volume) -> None:
    row = new_snapshot(session, volume, runtime.now(), policy=policy)
    user = _system_user(session)
    job = new_job(
        session,
        names.TAKE_SNAPSHOT,
        {"snapshot_id": row.id},
        command="createSnapshot",
        user=user,
        domain_id=volume.domain_id,
        event_type=EVENT,
        instance_type="Snapshot",
        instance_id=row.id,
    )
    job.lock_key = turn_of(volume)
    record_event(
        session,
        EVENT,
        f"snapshot {row.name} is due by its policy",
        user_id=user.id,
        account_id=volume.account_id,
        domain_id=volume.domain_id,
        state="Scheduled",
        resource_type="Snapshot",
        resource_id=row.id,
        event_id=start_event_id(job.id),
    )


def _say(session: Session, volume: Volume, text: str) -> None:
    log.warning("%s", text)
    record_event(
        session,
        EVENT,
        text,
        user_id=_system_user(session).id,
        account_id=volume.account_id,
        domain_id=volume.domain_id,
        level="ERROR",
        resource_type="Volume",
        resource_id=volume.id,
    )


def _system_user(session: Session) -> User:
    query = select(User).join(Account, Account.id == User.account_id)
    return session.scalars(query.where(Account.name == SYSTEM_ACCOUNT)).one()
