"""Old rows go: sessions that ended, jobs nobody asks for any more, VMs destroyed long ago."""

import logging
from datetime import timedelta

from sqlalchemy import delete, select

from mgmt.agents.errors import AgentError
from mgmt.model.errors import CloudError
from mgmt.model.states import JobStatus, VmKind, VmState
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga, StepFailed, run_directly
from mgmt.ops.vm_workflows import expunge_vm
from mgmt.store.tables import Event, Job, LoginSession, Vm

log = logging.getLogger(__name__)

JOB_AGE = timedelta(days=7)
#: How long a destroyed VM can be recovered (CloudStack's `expunge.delay` has the same default).
EXPUNGE_AGE = timedelta(days=1)


def sweep(runtime: Runtime) -> None:
    """Remove what is over, once."""
    moment = runtime.now()
    with runtime.database.writing() as session:
        session.execute(delete(LoginSession).where(LoginSession.expires < moment))
        session.execute(delete(Job).where(Job.status != JobStatus.pending, Job.completed < moment - JOB_AGE))
    for vm_id in _expired(runtime):
        saga = Saga(run_directly)
        try:
            expunge_vm(runtime, saga, vm_id=vm_id)
        except (StepFailed, AgentError, CloudError) as error:
            saga.roll_back()
            log.error("VM %s could not be expunged, because %s", vm_id, error)


def _expired(runtime: Runtime) -> list[str]:
    """Destroyed VMs past their time; an event says when that was."""
    limit = runtime.now() - EXPUNGE_AGE
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
