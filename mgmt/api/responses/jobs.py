"""Asynchronous jobs on the wire, their results built from the rows they are about."""

from collections.abc import Sequence
from typing import Any

from mgmt.api.call import Call
from mgmt.api.registry import DONE, REGISTRY, AsyncCommand, Entity, Response, plain
from mgmt.api.responses.lookup import Owners, wire_time
from mgmt.model.states import JobStatus
from mgmt.store.tables import Job

INTERNAL = 530


class JobResponse(Response):
    """A job; `jobresult` and `completed` once it is finished, `jobstep` (what it does now) before."""

    jobid: str
    accountid: str
    userid: str
    cmd: str
    created: str
    jobstatus: int
    jobprocstatus: int
    jobresultcode: int
    account: str | None = None
    domainid: str | None = None
    domainpath: str | None = None
    jobinstancetype: str | None = None
    jobinstanceid: str | None = None
    jobresulttype: str | None = None
    jobresult: dict[str, Any] | None = None
    completed: str | None = None
    jobstep: str | None = None


def job_responses(call: Call, rows: Sequence[Job]) -> list[JobResponse]:
    """Jobs in a list: with their errors, without the objects that they made, which would be a look each."""
    owners = Owners(call, rows)
    return [_job(row, owners, _error(row)) for row in rows]


def full_job_response(call: Call, row: Job) -> JobResponse:
    """One job on the wire, with its result."""
    return _job(row, Owners(call, [row]), job_result(call, row) if row.status != JobStatus.pending else None)


def _job(row: Job, owners: Owners, result: dict[str, Any] | None) -> JobResponse:
    names = owners.names(row)
    done = row.status != JobStatus.pending
    failed = done and row.status != JobStatus.succeeded
    return JobResponse(
        jobid=row.id,
        accountid=row.account_id,
        userid=row.user_id,
        cmd=row.command,
        created=wire_time(row.created) or "",
        jobstatus=int(row.status),
        jobprocstatus=0,
        jobresultcode=(row.error_code or INTERNAL) if failed else 0,
        account=names["account"],
        domainid=names["domainid"],
        domainpath=names["domainpath"],
        jobinstancetype=row.instance_type,
        jobinstanceid=row.instance_id,
        jobstep=None if done else row.step or None,
        jobresulttype=None if result is None else "object",
        jobresult=result,
        completed=wire_time(row.completed) if done else None,
    )


def job_result(call: Call, job: Job) -> dict[str, Any]:
    """What a finished job gives: its entity as it is now, `success`, or the error."""
    error = _error(job)
    if error is not None:
        return error
    registered = REGISTRY.find(job.command)
    if registered is None or not issubclass(registered.command, AsyncCommand):
        return {"success": True}
    spec, command = registered.spec, registered.command
    row = call.session.get(spec.entity.table, job.instance_id) if spec.entity and job.instance_id else None
    response = spec.entity.build(call, [row])[0] if spec.entity and row is not None else DONE
    body = plain(command.result(call, job, response))
    return {spec.response_key: body} if spec.response_key and row is not None else body


def _error(job: Job) -> dict[str, Any] | None:
    """The error of a job that failed."""
    if job.status in (JobStatus.pending, JobStatus.succeeded):
        return None
    text = job.error_text or f"{job.command} failed; the management server's log says why"
    return {"errorcode": job.error_code or INTERNAL, "errortext": text}


JOB = Entity(Job, JobResponse, "asyncjobs", job_responses)
