"""Jobs as durable workflows of DBOS Transact: job id = workflow id, steps recorded, resumed after a crash.

DBOS keeps its records in a database of its own beside the store. Jobs about one object wait for each other
in a queue that is partitioned by the object's id and ordered by the numbers of their rows; after a crash,
when DBOS runs what was cut all at once, a lock keeps that order. Servers that share a database share the
queue. What one that is gone had begun goes on elsewhere, step by step as recorded; DBOS takes no record from
who lost a workflow (its `owner_xid`).

Docs: https://docs.dbos.dev/python/tutorials/workflow-tutorial and …/queue-tutorial.
"""

import logging
from collections.abc import Callable
from typing import Any

from dbos import DBOS, DBOSConfig, SetEnqueueOptions, SetWorkflowID
from sqlalchemy import Engine, bindparam, select

from mgmt.jobs import rows
from mgmt.jobs.records import open_records
from mgmt.jobs.steps import Steps
from mgmt.model.states import JobStatus
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga, StepFailed, outcome_of, outcome_value
from mgmt.ops.workflows import WORKFLOWS, run
from mgmt.store import servers
from mgmt.store.tables import Job

log = logging.getLogger(__name__)

QUEUE = "objects"
#: Seconds between two looks at the queue: what a job waits before it starts. A look takes some 10 ms.
POLL_SECONDS = 0.2
#: Raised when the steps of a workflow change, so that what was recorded by the old ones is not misread.
STEPS_VERSION = "3"
#: Jobs that run at once in one server: each has a thread, and mostly waits for a host. Those that wait for
#: the same network are served by one push together.
MOST_AT_ONCE = 64
#: DBOS orders a queue by priority, of which it has so many, then by time of creation.
_PRIORITIES = 2**31 - 1
_ASKED_AT_ONCE = 500
#: A job's status, its number, and what it may be about: the first that is there.
_KEYS = select(Job.status, Job.number, Job.lock_key, Job.instance_id, Job.id).where(
    Job.id == bindparam("job_id")
)
_DEAD = ("ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")


class DurableJobs:
    """`JobStarter` over DBOS, of which there is one per process. `launch` resumes what was cut."""

    def __init__(self, runtime: Runtime, records: str | Engine, executor: str = "local") -> None:
        """`records` is the database of DBOS, `executor` the name of this process in it."""
        self._runtime = runtime
        self._steps = Steps(runtime.database)
        self._records = open_records(records) if isinstance(records, str) else None
        config: DBOSConfig = {
            "name": "pileus-mgmt",
            **_where(self._records or records),
            "executor_id": executor,
            "application_version": STEPS_VERSION,
            "log_level": "DEBUG" if log.isEnabledFor(logging.DEBUG) else "WARNING",
            "enable_otlp": False,
        }
        DBOS(config=config)

        @DBOS.workflow(name="run_job")
        def run_job(job_id: str) -> None:
            self._run(job_id)

        self._run_job: Callable[[str], None] = run_job

    def launch(self) -> None:
        """Start working, what a crash left behind first."""
        DBOS.launch()
        DBOS.register_queue(
            QUEUE,
            partition_concurrency=1,
            worker_concurrency=MOST_AT_ONCE,
            polling_interval_sec=POLL_SECONDS,
            on_conflict="always_update",
        )
        self._steps.start()
        self.recover()
        self.sweep()

    def recover(self) -> None:
        """Continue what servers that are gone had begun; they are cut off from the database first.

        Those with work are looked up before those who live, so that nobody who joins meanwhile seems dead.
        """
        servers.bury(self._runtime.database, DBOS.executor_id)
        begun = DBOS.list_workflows(status="PENDING", load_input=False, load_output=False)
        executors = {workflow.executor_id for workflow in begun if workflow.executor_id}
        gone = executors - servers.living(self._runtime.database) - {DBOS.executor_id}
        if not gone:
            return
        log.warning("jobs of %d management servers that are gone continue here or elsewhere", len(gone))
        servers.cut_off(self._runtime.database, gone)
        # What DBOS's own Conductor calls; it hands each workflow to one server, however many call it.
        DBOS._recover_pending_workflows(sorted(gone))

    def close(self, seconds: int = 0) -> None:
        """Stop; jobs get `seconds` to end, what is cut resumes with the next launch."""
        DBOS.destroy(workflow_completion_timeout_sec=seconds, destroy_registry=True)
        self._steps.stop()
        if self._records is not None:
            self._records.dispose()

    def start(self, job_id: str) -> None:
        """See JobStarter. Starting a job twice runs it once: its id is the workflow's."""
        with self._runtime.database.reading() as session:
            status, number, *keys = session.execute(_KEYS, {"job_id": job_id}).one()
        if status != JobStatus.pending:
            return
        turn = number % _PRIORITIES + 1
        key = next(key for key in keys if key)
        options = SetEnqueueOptions(queue_partition_key=key, priority=turn)
        with SetWorkflowID(job_id), options:
            DBOS.enqueue_workflow(QUEUE, self._run_job, job_id)

    def sweep(self) -> None:
        """Start jobs whose server died between commit and start; fail those that DBOS gave up on."""
        with self._runtime.database.reading() as session:
            query = select(Job.id, Job.handed_over).where(Job.status == JobStatus.pending)
            pending = session.execute(query.order_by(Job.number)).all()
        for first in range(0, len(pending), _ASKED_AT_ONCE):
            some = pending[first : first + _ASKED_AT_ONCE]
            ids = [job_id for job_id, _ in some]
            found = DBOS.list_workflows(workflow_ids=ids, load_input=False, load_output=False)
            statuses = {workflow.workflow_id: workflow.status for workflow in found}
            for job_id, has_begun in some:
                self._look_after(job_id, statuses.get(job_id), has_begun=has_begun)

    def _look_after(self, job_id: str, status: str | None, *, has_begun: bool) -> None:
        if status is None and not has_begun:
            log.warning("job %s starts now, because nobody has started it yet", job_id)
            self.start(job_id)
        elif status is None or status in _DEAD:
            words = f"its workflow is {status or 'unknown'}"
            log.error("job %s failed, because %s", job_id, words)
            self._finish(job_id, StepFailed(self._last_step(job_id), 530, words), [])

    def _run(self, job_id: str) -> None:
        job = rows.begin(self._runtime, job_id)
        if job is None:
            return
        saga = Saga(_record, lambda step: self._steps.say(job_id, step))
        with self._runtime.locks.hold(f"job:{job['key']}"):
            self._finish(job_id, *self._attempt(saga, job))

    def _finish(self, job_id: str, failure: StepFailed | None, leftovers: list[str]) -> None:
        rows.finish(self._runtime, job_id, failure, leftovers, self._steps.forget(job_id))

    def _last_step(self, job_id: str) -> str:
        with self._runtime.database.reading() as session:
            return session.get_one(Job, job_id).step or "start"

    def _attempt(self, saga: Saga, job: dict[str, Any]) -> tuple[StepFailed | None, list[str]]:
        try:
            if job["workflow"] not in WORKFLOWS:
                raise StepFailed("start", 530, f"there is no workflow {job['workflow']!r}")
            run(self._runtime, saga, job["workflow"], job["arguments"])
        except StepFailed as failure:
            log.warning("job %s (%s) is undone, because %s", job["id"], job["workflow"], failure)
            return failure, saga.roll_back()
        return None, []


def _record(name: str, function: Callable[[], Any]) -> Any:
    """A step of the current workflow: runs once, its outcome is kept. Raises StepFailed."""
    outcome: dict[str, Any] = DBOS.run_step({"name": name}, outcome_of, name, function)
    return outcome_value(name, outcome)


def _where(records: str | Engine) -> DBOSConfig:
    if isinstance(records, str):
        return {"system_database_url": records}
    url = records.url.render_as_string(hide_password=False)
    return {"system_database_url": url, "system_database_engine": records}
