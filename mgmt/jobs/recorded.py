"""Jobs that are only noted down: the fake for tests of the API and for dry runs."""

from dataclasses import dataclass, field


@dataclass
class RecordedJobs:
    """A `JobStarter` that remembers what it was asked to start, in order, each job once."""

    started: list[str] = field(default_factory=list)

    def start(self, job_id: str) -> None:
        """Note the job; nothing runs."""
        if job_id not in self.started:
            self.started.append(job_id)
