"""What the API asks of jobs: a row in the transaction of the command, a start after its commit.

The row carries the workflow's name and arguments, so the pair (object, job) is written whole or not at
all. A job that was committed but never started (the process died in between) is found by its status
`pending` when the management server starts, and started then: `start` may be called twice.
"""

from typing import Any, Protocol

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mgmt.store.tables import Job, User

Arguments = dict[str, Any]
"""JSON values only: ids, numbers, words. Secrets stay in their sealed columns, never in arguments."""


class JobStarter(Protocol):
    """Runs workflows by name."""

    def start(self, job_id: str) -> None:
        """Run `job.workflow` with `job.arguments` in the background, as workflow `job_id`.

        Called after the job's row is committed. A job that already runs or is done is left alone.
        """


def new_job(
    session: Session,
    workflow: str,
    arguments: Arguments,
    *,
    command: str,
    user: User,
    domain_id: str,
    event_type: str | None = None,
    instance_type: str | None = None,
    instance_id: str | None = None,
) -> Job:
    """Add the row of a job to `session`; it starts when its id is given to `JobStarter.start` after commit.

    `instance_type` and `instance_id` name the object the job is about (`VirtualMachine` and its id).
    """
    job = Job(
        # Jobs of the past may be deleted; those that wait, whose order this is, are not.
        number=(session.scalar(select(func.max(Job.number))) or 0) + 1,
        account_id=user.account_id,
        domain_id=domain_id,
        user_id=user.id,
        command=command,
        workflow=workflow,
        arguments=arguments,
        event_type=event_type,
        instance_type=instance_type,
        instance_id=instance_id,
    )
    session.add(job)
    return job
