"""Rows of jobs while they run: what they do now, how they ended, and the event of that."""

from typing import Any

from mgmt.model.states import JobStatus
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import StepFailed
from mgmt.store.events import record_event
from mgmt.store.tables import Job, User, Vm


def read(runtime: Runtime, job_id: str) -> dict[str, Any] | None:
    """What a job is to do; None when there is nothing (left) to do."""
    with runtime.database.reading() as session:
        job = session.get(Job, job_id)
    if job is None or job.status != JobStatus.pending:
        return None
    return {
        "id": job.id,
        "workflow": job.workflow,
        "arguments": job.arguments,
        "key": job.lock_key or job.instance_id or job.id,
    }


def say(runtime: Runtime, job_id: str, step: str) -> None:
    """Show what a job does now."""
    with runtime.database.writing() as session:
        session.get_one(Job, job_id).step = step


def finish(runtime: Runtime, job_id: str, failure: StepFailed | None, leftovers: list[str]) -> None:
    """End a job: well, or with step and reason; `leftovers` are sentences about what could not be undone."""
    with runtime.database.writing() as session:
        job = session.get_one(Job, job_id)
        if job.status != JobStatus.pending:
            return
        job.completed = runtime.now()
        job.status = JobStatus.failed if failure else JobStatus.succeeded
        text = f"{job.command} is done"
        if failure is not None:
            text = "; ".join([str(failure), *leftovers])
            job.error_code, job.error_text = failure.code, text
            vm = session.get(Vm, job.instance_id) if job.instance_id else None
            if vm is not None:
                vm.reason = text
        user = session.get(User, job.user_id)
        if job.event_type and user is not None:
            record_event(
                session,
                job.event_type,
                f"{job.command} failed at {text}" if failure else text,
                user=user,
                account_id=job.account_id,
                domain_id=job.domain_id,
                level="ERROR" if failure else "INFO",
                resource_type=job.instance_type,
                resource_id=job.instance_id,
            )
