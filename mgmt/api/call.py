"""What a handler gets besides its parameters: the caller, the transaction, the rows its ids name."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from mgmt.api.access import Caller
from mgmt.api.rights import Roles
from mgmt.config import MgmtConfig
from mgmt.jobs.protocol import Arguments, JobStarter, new_job
from mgmt.model.states import JobStatus
from mgmt.store.database import Database
from mgmt.store.sealing import Seal
from mgmt.store.tables import Account, Domain, Job
from mgmt.store.tables.base import Identified, now

R = TypeVar("R", bound=Identified)


@dataclass(frozen=True)
class Context:
    """What all calls share: the parts of one management server.

    `parts` holds what the runtime adds for single commands (drivers, certificate authority), by its type:
    `call.part(HostDrivers)`.
    """

    database: Database
    seal: Seal
    jobs: JobStarter
    config: MgmtConfig
    clock: Callable[[], datetime] = now
    parts: dict[type, Any] = field(default_factory=dict)
    roles: Roles = field(init=False)

    def __post_init__(self) -> None:
        """What is known of the roles belongs to the database."""
        object.__setattr__(self, "roles", Roles(self.database))


@dataclass(frozen=True)
class Owner:
    """The account a new object will belong to, authorized."""

    account: Account
    domain: Domain


P = TypeVar("P")


@dataclass
class Call:
    """One call of one command. `owner` is the account the call is for: named, or the caller's own."""

    command: str
    context: Context
    caller: Caller
    session: Session
    owner: Owner
    event_type: str | None = None
    rows: dict[tuple[type[Identified], str], Identified] = field(default_factory=dict)
    jobs: list[str] = field(default_factory=list)
    mentioned: dict[tuple[type[Identified], str], Identified] = field(default_factory=dict)
    """Rows that answers mention by name, kept so that each is read once."""
    told: str = ""
    """What the event of this call says instead of the command's name, where that says too little."""

    def row(self, table: type[R], row_id: str) -> R:
        """The row a parameter of this call names; the dispatcher found and authorized it."""
        row = self.rows[table, row_id]
        assert isinstance(row, table)  # noqa: S101 (the key says so; this tells the type checker)
        return row

    def row_or_none(self, table: type[R], row_id: str | None) -> R | None:
        """The row of an optional parameter."""
        return None if row_id is None else self.row(table, row_id)

    def part(self, kind: type[P]) -> P:
        """A part of the server that the runtime brought along (`Context.parts`)."""
        part = self.context.parts[kind]
        assert isinstance(part, kind)  # noqa: S101 (as in `row`)
        return part

    def now(self) -> datetime:
        """The current moment by the server's clock."""
        return self.context.clock()

    def submit(
        self,
        workflow: str,
        arguments: Arguments,
        *,
        kind: str | None = None,
        about: Identified | None = None,
        lock: str = "",
    ) -> Job:
        """Leave the rest to a workflow: its job is written with this transaction, started after commit.

        `about` is the object of the job and `kind` its name on the wire (`VirtualMachine`). Jobs with one
        `lock`, which is the id of `about` if empty, run one after the other.
        """
        job = self._job(workflow, arguments, kind, about)
        job.lock_key = lock
        self.jobs.append(job.id)
        return job

    def finish(self, *, kind: str | None = None, about: Identified | None = None) -> Job:
        """The job of a command that clients expect to be asynchronous and that is done already."""
        job = self._job("", {}, kind, about)
        job.status = JobStatus.succeeded
        job.completed = self.now()
        return job

    def _job(self, workflow: str, arguments: Arguments, kind: str | None, about: Identified | None) -> Job:
        if about is not None:
            self.session.flush()
        return new_job(
            self.session,
            workflow,
            arguments,
            command=self.command,
            user=self.caller.user,
            domain_id=self.caller.domain.id,
            event_type=self.event_type,
            instance_type=kind,
            instance_id=about.id if about is not None else None,
        )
