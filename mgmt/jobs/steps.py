"""What jobs do now, in words: kept in memory, written now and then, because most steps are over at once."""

import logging
import threading

from sqlalchemy import update
from sqlalchemy.exc import DBAPIError

from mgmt.store.database import Database
from mgmt.store.tables import Job

log = logging.getLogger(__name__)
#: Seconds between two looks at what is to be written.
PERIOD = 1.0


class Steps:
    """The steps of the jobs that run here. A step is written once it has lasted for a period."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._guard = threading.Lock()
        self._now: dict[str, str] = {}
        self._seen: dict[str, str] = {}
        self._written: dict[str, str] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="steps", daemon=True)

    def start(self) -> None:
        """Write from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Write no more."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def say(self, job_id: str, step: str) -> None:
        """A job begins a step."""
        with self._guard:
            self._now[job_id] = step

    def forget(self, job_id: str) -> str:
        """The last step of a job that has ended; empty if it had none."""
        with self._guard:
            self._written.pop(job_id, None)
            return self._now.pop(job_id, "")

    def write(self) -> None:
        """Write the steps that were there at the last look already, in one transaction."""
        with self._guard:
            seen, self._seen = self._seen, dict(self._now)
            lasting = dict(self._seen.items() & seen.items() - self._written.items())
            self._written |= lasting
        if not lasting:
            return
        with self._database.writing(is_awaited=False) as session:
            for job_id, step in lasting.items():
                session.execute(update(Job).where(Job.id == job_id).values(step=step))

    def _run(self) -> None:
        while not self._stopping.wait(PERIOD):
            try:
                self.write()
            except DBAPIError as error:
                log.warning("the steps of jobs are not written at the moment, because %s", error)
