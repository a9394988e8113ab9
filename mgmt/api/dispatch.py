"""The dispatcher: from a caller and a form to an answer.

Order: may the caller know this command; are all parameters well formed; do all ids exist and belong to
the caller; then the handler, in one transaction. Nothing is written when any of them fails.
"""

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam, select
from sqlalchemy.orm import Session

from mgmt.api.access import EVERY, Caller, InnerRef, Ref, authorize, is_gone
from mgmt.api.call import Call, Context, Owner
from mgmt.api.lists import Listing
from mgmt.api.ownership import OWNER, PROJECT, find_owner, is_any_project
from mgmt.api.params import Form, Parameter, read_parameter, unknown_entity
from mgmt.api.rank import check_rank, check_root_remains
from mgmt.api.registry import (
    REGISTRY,
    AsyncCommand,
    Command,
    Registered,
    Response,
    Spec,
    SyncCommand,
    plain,
)
from mgmt.api.rights import rights_of_account
from mgmt.model.errors import CodeNeeded, UnknownCommand
from mgmt.model.states import JobStatus
from mgmt.ops.runtime import Runtime
from mgmt.store.events import RESOURCE_TYPES, record_event, start_event_id
from mgmt.store.tables.base import Identified

Body = dict[str, Any]
CODE_FIRST = "This session must prove its second factor: call validateUserTwoFactorAuthenticationCode"
SETUP_FIRST = (
    "This user must set up a second factor first: call setupUserTwoFactorAuthentication, then"
    " validateUserTwoFactorAuthenticationCode with a code"
)


def dispatch(
    context: Context, caller: Caller, registered: Registered, form: Form, reading: Session | None = None
) -> Body:
    """Run a command for an authenticated caller; the body of its envelope.

    `reading` is the transaction of a call that only reads; without it the call has one of its own.
    Raises `CloudError` of every kind; then nothing has changed.
    """
    check_access(context, caller, registered)
    caller = replace(caller, command=registered.name, changes=registered.changes)
    values = read_values(registered, form)
    database = context.database
    own = database.writing if registered.writes else database.reading
    with nullcontext(reading) if reading else own() as session:
        owner = Owner(account=caller.account, domain=caller.domain)
        call = Call(registered.name, context, caller, session, owner, event_type=registered.spec.event)
        _resolve(call, registered.parameters, values)
        run = _govern if registered.spec.governs else _run
        body = run(call, registered.command(**values), registered)
    for job_id in call.jobs:
        context.jobs.start(job_id)
    if registered.spec.wakes and Runtime in context.parts:
        context.parts[Runtime].wake.set()
    return body


def find_command(name: str) -> Registered:
    """The command of a name. Raises `UnknownCommand`."""
    registered = REGISTRY.find(name)
    if registered is None:
        raise UnknownCommand(
            f"The given command '{name}' either does not exist or is not available for users"
        )
    return registered


def check_access(context: Context, caller: Caller, registered: Registered) -> None:
    """Raise `UnknownCommand` unless the caller's role allows the command, `CodeNeeded` before the code."""
    spec = registered.spec
    if caller.needs_code and not spec.before_code:
        raise CodeNeeded(CODE_FIRST if caller.user.totp_enabled else SETUP_FIRST)
    is_offered = context.config.simulated_hosts or not spec.simulated
    if not is_offered or caller.type not in spec.access or not context.roles.of(caller).allows(registered):
        text = f"The given command '{registered.name}' either does not exist or is not available for users"
        raise UnknownCommand(text)


def read_values(registered: Registered, form: Form) -> dict[str, Any]:
    """The typed values of all parameters that were sent. Raises `ParameterError`."""
    values = {item.name: read_parameter(registered.name, item, form) for item in registered.parameters}
    return {name: value for name, value in values.items() if value is not None}


def _resolve(call: Call, parameters: Iterable[Parameter], values: dict[str, Any]) -> None:
    for parameter in parameters:
        value = values.get(parameter.name)
        if value is None:
            continue
        if PROJECT in parameter.marks and is_any_project(call.caller, parameter.name, value):
            continue
        ref = parameter.mark(Ref)
        if ref is not None and ref.every and value in (EVERY, [EVERY]):
            continue
        if ref is not None:
            found = _find(call, parameter.name, ref, value)
            values[parameter.name] = found if isinstance(value, list) else found[0]
        for inner in parameter.marks:
            if isinstance(inner, InnerRef):
                _resolve_inner(call, parameter.name, inner, value)
    if any(OWNER in parameter.marks for parameter in parameters):
        projects = [values.get(parameter.name) for parameter in parameters if PROJECT in parameter.marks]
        account, domain_id = values.get("account"), values.get("domainid")
        call.owner = find_owner(call.session, call.caller, account, domain_id, next(iter(projects), None))


def _resolve_inner(call: Call, name: str, inner: InnerRef, items: list[dict[str, str]]) -> None:
    for at, item in enumerate(items):
        if inner.key in item:
            place = f"{name}[{at}].{inner.key}"
            item[inner.key] = _find(call, place, Ref(inner.table, use=inner.use), item[inner.key])[0]


def _find(call: Call, name: str, ref: Ref, value: str | list[str]) -> list[str]:
    ids = [item.lower() for item in ([value] if isinstance(value, str) else value)]
    found = call.session.scalars(_live(ref.table), {"ids": ids})
    rows: dict[str, Identified] = {row.id: row for row in found}
    for row_id in ids:
        if row_id not in rows or is_gone(call.caller, rows[row_id]):
            raise unknown_entity(name, row_id)
        authorize(call.caller, call.session, rows[row_id], use=ref.use)
        call.rows[ref.table, row_id] = rows[row_id]
    return ids


@cache
def _live(table: type[Identified]) -> Select[Any]:
    """Made once for each table: making a statement takes longer than running it."""
    return select(table).where(table.id.in_(bindparam("ids", expanding=True)), table.removed.is_(None))


def _govern(call: Call, command: Command, registered: Registered) -> Body:
    own = rights_of_account(call.session, call.caller.account)
    check_rank(call, own)
    body = _run(call, command, registered)
    if registered.changes:
        check_rank(call, own)
        check_root_remains(call)
    return body


def _run(call: Call, command: Command, registered: Registered) -> Body:
    spec = registered.spec
    if isinstance(command, Listing):
        total, answers = command.fetch(call)
        return {"count": total, str(spec.response_key): [plain(item) for item in answers]} if total else {}
    if isinstance(command, AsyncCommand):
        job = command.run(call)
        is_done = job.status == JobStatus.succeeded
        text = f"{registered.name} {'is done' if is_done else 'was asked for'}"
        state = "Completed" if is_done else "Scheduled"
        _note(call, spec, text, job.instance_id, state, job.instance_type, start_event_id(job.id))
        created = {"id": job.instance_id} if command.creates else {}
        return {**created, "jobid": job.id}
    assert isinstance(command, SyncCommand)  # noqa: S101 (there is no fourth kind)
    result = command.run(call)
    call.session.flush()
    results = result if isinstance(result, list) else [result]
    first = results[0]
    about = first.id if isinstance(first, Identified) else None
    if isinstance(first, Identified):
        call.rows[type(first), first.id] = first
    kind = type(first).__name__ if isinstance(first, Identified) else None
    _note(call, spec, call.told or f"{registered.name} is done", about, "Completed", kind)
    return wrap(spec, *(answer(call, spec, each) for each in results))


def answer(call: Call, spec: Spec, result: Identified | Response) -> Response:
    """The response for what a handler returned: a row is built by the spec's entity."""
    if isinstance(result, Response):
        return result
    assert spec.entity is not None, f"{call.command} returned a row, so its spec must name an entity"  # noqa: S101
    built: Response = spec.entity.build(call, [result])[0]
    return built


def wrap(spec: Spec, *responses: Response) -> Body:
    """A response below its key, or bare where the command has none; several only where they are listed."""
    bodies = [plain(response) for response in responses]
    if spec.response_key is None:
        return bodies[0]
    return (
        {"count": len(bodies), spec.response_key: bodies} if spec.listed else {spec.response_key: bodies[0]}
    )


def _note(
    call: Call,
    spec: Spec,
    text: str,
    about: str | None,
    state: str,
    kind: str | None,
    event_id: str | None = None,
) -> None:
    """An event of the command: it belongs to whose the object is, else to whom the call is for."""
    if spec.event is None:
        return
    row = next((row for (_, row_id), row in call.rows.items() if row_id == about), None)
    record_event(
        call.session,
        spec.event,
        text,
        user_id=call.caller.user.id,
        account_id=getattr(row, "account_id", None) or call.owner.account.id,
        domain_id=getattr(row, "domain_id", None) or call.owner.domain.id,
        state=state,
        resource_type=RESOURCE_TYPES.get(kind, kind) if kind else None,
        resource_id=about,
        event_id=event_id,
    )
