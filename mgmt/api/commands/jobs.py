"""Asynchronous jobs."""

from datetime import datetime
from typing import Annotated, Any

from sqlalchemy import Select

from mgmt.api.access import EVERYONE, Ref
from mgmt.api.call import Call
from mgmt.api.lists import OwnedListCommand
from mgmt.api.registry import Response, Spec, SyncCommand
from mgmt.api.responses.jobs import JOB, JobResponse, full_job_response
from mgmt.store.tables import Job


class QueryAsyncJobResult(SyncCommand, kw_only=True, frozen=True):
    """Tells how far an asynchronous job is, and its result once it is finished."""

    spec = Spec(answer=JobResponse, access=EVERYONE)

    jobid: Annotated[str, Ref(Job)]

    def run(self, call: Call) -> Response:
        """Read the job."""
        return full_job_response(call, call.row(Job, self.jobid))


class ListAsyncJobs(OwnedListCommand, kw_only=True, frozen=True):
    """Lists asynchronous jobs."""

    spec = Spec(answer=JOB, access=EVERYONE)
    searched = (Job.command,)

    startdate: Annotated[datetime | None, "list only jobs that were asked for since"] = None

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """Jobs since a date."""
        return query if self.startdate is None else query.where(Job.created >= self.startdate)
