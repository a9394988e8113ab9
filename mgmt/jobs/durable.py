"""Jobs as durable workflows of DBOS Transact: job id = workflow id, steps recorded, resumed after a crash.

DBOS keeps its records in a database of its own beside the store. Jobs about one object wait for each other
in a queue that is partitioned by the object's id; after a crash, when DBOS runs what was cut all at once, a
lock keeps that order. Servers that share a database share the queue. What one that is gone had begun goes
on elsewhere, step by step as recorded; DBOS takes no record from who lost a workflow (its `owner_xid`).

Docs: https://docs.dbos.dev/python/tutorials/workflow-tutorial and …/queue-tutorial.
"""

import itertools
import logging
import time
from collections.abc import Callable
from typing import Any

from dbos import DBOS, DBOSConfig, SetEnqueueOptions, SetWorkflowID
from sqlalchemy import Engine, select

from mgmt.jobs import rows
from mgmt.model.states import JobStatus
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga, StepFailed, outcome_of, outcome_value
from mgmt.ops.workflows import WORKFLOWS, run
from mgmt.store import servers
from mgmt.store.tables import Job

log = logging.getLogger(__name__)

QUEUE = "objects"
#: Seconds between two looks at the queue: what a job waits before it starts.
POLL_SECONDS = 0.1
#: Raised when the steps of a workflow change, so that what was recorded by the old ones is not misread.
STEPS_VERSION = "1"
#: DBOS orders a queue by priority, then by creation, which SQLite before 3.42 knows to the second only.
_PRIORITIES = 2**31 - 1
_PRIORITIES_PER_SECOND = 16
_DEAD = ("ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")


class DurableJobs:
    """`JobStarter` over DBOS, of which there is one per process. `launch` resumes what was cut."""

    def __init__(self, runtime: Runtime, records: str | Engine, executor: str = "local") -> None:
        """`records` is the database of DBOS, `executor` the name of this process in it."""
        self._runtime = runtime
        self._turns = itertools.count(int(time.time()) * _PRIORITIES_PER_SECOND)
        config: DBOSConfig = {
            "name": "pileus-mgmt",
            **_where(records),
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
            QUEUE, partition_concurrency=1, polling_interval_sec=POLL_SECONDS, on_conflict="always_update"
        )
        self.recover()
        self.sweep()

    def recover(self) -> None:
        """Continue what servers that are gone had begun; they are cut off from the database first.

        Those with work are looked up before those who live, so that nobody who joins meanwhile seems dead.
        """
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

    def start(self, job_id: str) -> None:
        """See JobStarter. Starting a job twice runs it once: its id is the workflow's."""
        with self._runtime.database.reading() as session:
            job = session.get_one(Job, job_id)
        if job.status != JobStatus.pending:
            return
        turn = next(self._turns) % _PRIORITIES + 1
        options = SetEnqueueOptions(queue_partition_key=_key(job), priority=turn)
        with SetWorkflowID(job_id), options:
            DBOS.enqueue_workflow(QUEUE, self._run_job, job_id)
        with self._runtime.database.writing() as session:
            session.get_one(Job, job_id).handed_over = True

    def sweep(self) -> None:
        """Start jobs whose server died between commit and start; fail those that DBOS gave up on."""
        with self._runtime.database.reading() as session:
            pending = session.scalars(
                select(Job).where(Job.status == JobStatus.pending).order_by(Job.created)
            ).all()
        for job in pending:
            if not job.handed_over:
                log.warning("job %s starts now, because nobody has started it yet", job.id)
                self.start(job.id)
                continue
            status = DBOS.get_workflow_status(job.id)
            if status is None or status.status in _DEAD:
                words = f"its workflow is {status.status if status else 'unknown'}"
                log.error("job %s failed, because %s", job.id, words)
                rows.finish(self._runtime, job.id, StepFailed(job.step or "start", 530, words), [])

    def _run(self, job_id: str) -> None:
        job = _record("begin the job", lambda: rows.begin(self._runtime, job_id))
        if job is None:
            return
        saga = Saga(_record, lambda step: rows.say(self._runtime, job_id, step))
        with self._runtime.locks.hold(f"job:{job['key']}"):
            failure, leftovers = self._attempt(saga, job)
            _record("finish the job", lambda: rows.finish(self._runtime, job_id, failure, leftovers))

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


def _key(job: Job) -> str:
    return job.lock_key or job.instance_id or job.id
