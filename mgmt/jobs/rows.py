"""Rows of jobs while they run: what they do now, how they ended, and the event of that."""

from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import Row, bindparam, select
from sqlalchemy.orm import Session

from mgmt.metrics.measured import JOB_SECONDS, JOBS
from mgmt.model.states import JobStatus
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import StepFailed
from mgmt.store.events import record_event, start_event_id
from mgmt.store.tables import Event, Job, Vm

_FOUND = (
    select(Job, Event)
    .outerjoin(Event, Event.id == bindparam("event_id"))
    .where(Job.id == bindparam("job_id"))
)


def begin(runtime: Runtime, job_id: str) -> dict[str, Any] | None:
    """Say that a job starts; what it is to do. None when there is nothing (left) to do. Twice is as once."""
    with runtime.database.writing(is_awaited=False) as session:
        found = _find(session, job_id)
        if found is None or found.Job.status != JobStatus.pending:
            return None
        job, asked = found
        if not job.handed_over:  # else its start was cut, and is begun again
            started = str(uuid5(UUID(job.id), "Started"))
            _note(session, job, asked, f"{job.command} has started", state="Started", event_id=started)
        job.handed_over = True
    return {
        "id": job.id,
        "workflow": job.workflow,
        "arguments": job.arguments,
        "key": job.lock_key or job.instance_id or job.id,
    }


def finish(
    runtime: Runtime, job_id: str, failure: StepFailed | None, leftovers: list[str], step: str = ""
) -> None:
    """End a job: well, or with step and reason; `leftovers` are sentences about what could not be undone.

    `step` is the last one. Doing it twice is the same as once.
    """
    with runtime.database.writing() as session:
        found = _find(session, job_id)
        if found is None or found.Job.status != JobStatus.pending:
            return
        job, asked = found
        job.completed = runtime.now()
        job.step = step or job.step
        job.status = JobStatus.failed if failure else JobStatus.succeeded
        workflow, seconds = job.workflow, (job.completed - job.created).total_seconds()
        text = f"{job.command} is done"
        if failure is not None:
            text = "; ".join([str(failure), *leftovers])
            job.error_code, job.error_text = failure.code, text
            vm = session.get(Vm, job.instance_id) if job.instance_id else None
            if vm is not None:
                vm.reason = text
        words = f"{job.command} failed at {text}" if failure else text
        _note(session, job, asked, words, level="ERROR" if failure else "INFO")
    JOBS.labels(workflow, "failed" if failure else "succeeded").inc()
    # A clock that goes back must not make a sum fall: Prometheus takes that for a restart.
    JOB_SECONDS.labels(workflow).observe(max(seconds, 0.0))


def _find(session: Session, job_id: str) -> Row[Job, Event | None] | None:
    """A job, and the event that says it was asked for, by one statement."""
    return session.execute(_FOUND, {"job_id": job_id, "event_id": start_event_id(job_id)}).first()


def _note(session: Session, job: Job, parent: Event | None, text: str, **more: str) -> None:
    """An event of a job, below the one that says it was asked for, and of the same owner."""
    if not job.event_type:
        return
    record_event(
        session,
        job.event_type,
        text,
        user_id=job.user_id,
        account_id=parent.account_id if parent else job.account_id,
        domain_id=parent.domain_id if parent else job.domain_id,
        resource_type=parent.resource_type if parent else job.instance_type,
        resource_id=job.instance_id,
        parent_id=parent.id if parent else None,
        **more,
    )
