"""Old rows go: ended sessions, jobs nobody asks for any more, VMs destroyed long ago. Usage is summed up."""

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from mgmt.agents.errors import AgentError
from mgmt.model.configuration import (
    ALERT_PURGE_DAYS,
    EVENT_PURGE_DAYS,
    EXPUNGE_DELAY,
    EXPUNGE_INTERVAL,
    JOB_EXPIRE_MINUTES,
    USAGE_ENABLED,
)
from mgmt.model.errors import CloudError
from mgmt.model.states import JobStatus, VmKind, VmState
from mgmt.ops.compute.vm_workflows import expunge_vm
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga, StepFailed, run_directly
from mgmt.ops.storage.exports import expire_exports
from mgmt.ops.storage.uploads import abandon_unsent
from mgmt.ops.usage import aggregate
from mgmt.reconcile.policies import bring_near
from mgmt.reconcile.steady import Steady
from mgmt.store.configured import configured
from mgmt.store.tables import Alert, Event, FailedLogIn, Job, LoginSession, Vm

log = logging.getLogger(__name__)


#: Pause between two looks for events and alerts to delete: each reads all of them.
PURGE_PAUSE = timedelta(hours=1)
#: Longer than failed log-ins count (`mgmt.api.throttle`).
FAILURES_KEPT = timedelta(hours=1)


class Sweeper:
    """Removes what is over; remembers when it last looked for VMs to expunge, and for old events.

    By their age things go only while the clock is steady: one that jumped a day ahead must not cost a VM.
    """

    def __init__(self, runtime: Runtime, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._runtime = runtime
        self._steady = Steady(runtime.now, monotonic)
        self._expunged: datetime | None = None
        self._purged: datetime | None = None

    def sweep(self) -> None:
        """Look once. How long things are kept is configured."""
        moment = self._runtime.now()
        if not self._steady.look():
            return
        with self._runtime.database.writing() as session:
            _end(session, moment)
            expire_exports(session, moment)
            abandon_unsent(session, moment)
            if _is_due(self._purged, moment, PURGE_PAUSE):
                self._purged = moment
                bring_near(session, moment)
                _purge(session, moment)
            every = timedelta(seconds=configured(session, EXPUNGE_INTERVAL))
            delay = timedelta(seconds=configured(session, EXPUNGE_DELAY))
        if _is_due(self._expunged, moment, every):
            self._expunged = moment
            for vm_id in _expired(self._runtime, moment - delay):
                _expunge(self._runtime, vm_id)
        self._record_usage(moment)

    def _record_usage(self, moment: datetime) -> None:
        """Make the usage records of days that are over, unless that is switched off."""
        with self._runtime.database.reading() as session:
            enabled = configured(session, USAGE_ENABLED)
        if enabled:
            aggregate(self._runtime.database, moment)


def _is_due(last: datetime | None, moment: datetime, every: timedelta) -> bool:
    """Whether it is time again; also when the last time is yet to come, because the clock went back."""
    return last is None or not timedelta(0) <= moment - last < every


def _end(session: Session, moment: datetime) -> None:
    session.execute(delete(LoginSession).where(LoginSession.expires < moment))
    session.execute(delete(FailedLogIn).where(FailedLogIn.last < moment - FAILURES_KEPT))
    job_age = timedelta(minutes=configured(session, JOB_EXPIRE_MINUTES))
    session.execute(delete(Job).where(Job.status != JobStatus.pending, Job.completed < moment - job_age))


def _purge(session: Session, moment: datetime) -> None:
    for item, table, when in (
        (EVENT_PURGE_DAYS, Event, Event.created),
        (ALERT_PURGE_DAYS, Alert, Alert.resolved),
    ):
        days = configured(session, item)
        if days:
            session.execute(delete(table).where(when < moment - timedelta(days=days)))


def _expunge(runtime: Runtime, vm_id: str) -> None:
    saga = Saga(run_directly)
    try:
        expunge_vm(runtime, saga, vm_id=vm_id)
    except (StepFailed, AgentError, CloudError) as error:
        saga.roll_back()
        log.error("VM %s could not be expunged, because %s", vm_id, error)


def _expired(runtime: Runtime, limit: datetime) -> list[str]:
    """VMs destroyed before `limit`; an event says when that was."""
    with runtime.database.reading() as session:
        recent = select(Event.resource_id).where(Event.type == "VM.DESTROY", Event.created > limit)
        query = select(Vm.id).where(
            Vm.kind == VmKind.user,
            Vm.state == VmState.destroyed,
            Vm.removed.is_(None),
            Vm.created < limit,
            Vm.id.not_in(recent.where(Event.resource_id.is_not(None))),
        )
        return list(session.scalars(query))
