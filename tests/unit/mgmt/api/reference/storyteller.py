"""Tells the stories of the API reference: each call for real, on one simulated cloud, jobs at once."""

import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pyotp

from mgmt.api.reference.examples import Example, Story
from mgmt.api.testing import Api, Client
from mgmt.drivers.simulator import Simulator
from mgmt.jobs import rows
from mgmt.model.states import JobStatus
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga, StepFailed, run_directly
from mgmt.ops.workflows import run
from mgmt.pki.authority import Authority
from mgmt.reconcile.loop import Reconciler
from mgmt.store.tables import ManagementServer
from mgmt.store.tables.base import now
from tests.unit.mgmt.api.decoding import wrong_types

#: Rounds of the loop in one turn: what one starts, the next ones see.
ROUNDS = 3


@dataclass
class DirectJobs:
    """`JobStarter` that runs a job to its end at once."""

    runtime: Runtime

    def start(self, job_id: str) -> None:
        """See JobStarter."""
        job = rows.begin(self.runtime, job_id)
        if job is None:
            return
        saga = Saga(run_directly)
        try:
            run(self.runtime, saga, job["workflow"], job["arguments"])
        except StepFailed as failure:
            rows.finish(self.runtime, job_id, failure, saga.roll_back())
        else:
            rows.finish(self.runtime, job_id, None, [])


@dataclass
class Storyteller:
    """Calls, and what was kept of the answers."""

    api: Api
    clients: dict[str, Client] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)
    secret: str = ""

    def __post_init__(self) -> None:
        context = self.api.context
        simulator = Simulator()
        self.runtime = Runtime(
            database=context.database,
            seal=context.seal,
            authority=Authority(context.config.pki_dir),
            drivers={"simulator": simulator, "kvm": simulator},
        )
        context.parts[Runtime] = self.runtime
        object.__setattr__(context, "jobs", DirectJobs(self.runtime))
        self.loop = Reconciler(self.runtime)
        with context.database.writing() as session:  # a second server, which died
            facts = {
                "version": "1",
                "incarnation": "gone",
                "address": "10.0.0.2",
                "kernel": "6",
                "processors": 2,
            }
            times = {"started": now(), "last_seen": now()}
            session.add(ManagementServer(name="mgmt2", state="Down", **facts, **times))
        today = self.runtime.now().date()
        self.kept |= {"today": str(today), "tomorrow": str(today + timedelta(days=1))}

    def tell(self, story: Story) -> None:
        """All of a story."""
        for step in story.steps:
            if step is not None:
                self.play(step)
                continue
            self.rounds()

    def rounds(self) -> None:
        """A turn of the reconcile loop, until what it started is done."""
        for _ in range(ROUNDS):
            self.loop.tick()
            self.loop.wait_idle()

    def play(self, example: Example) -> None:
        """One call; its answer has what the example says, in types that the Go SDK decodes."""
        user = example.user or "admin"
        if user not in self.clients:
            self.clients[user] = self.api.client(user)
        parameters = {name: self._fill(value) for name, value in example.parameters.items()}
        said = self.clients[user](example.command, **parameters)
        assert said.status == 200, f"{example.place}: {example.command}: {said.error}"
        body = said.body
        if "jobid" in body and example.command != "queryAsyncJobResult":
            body = self._result(example, user, body["jobid"])
        problems = wrong_types(example.command, body)
        assert not problems, f"{example.place}: {problems}"
        answer = unpack(body)
        if example.kept:
            self.kept[example.kept] = answer
        self.secret = str(answer.get("secretcode", self.secret))
        for name, wanted in example.answer.items():
            found = body.get("count", 0) if name == "count" else follow(answer, name)
            assert found is not None, f"{example.place}: no {name} in {body}"
            if wanted is not None:
                assert as_text(found) == self._fill(wanted), f"{example.place}: {name}={as_text(found)}"

    def _result(self, example: Example, user: str, job_id: str) -> dict[str, Any]:
        job = self.clients[user].get("queryAsyncJobResult", jobid=job_id)
        reason = f"{example.place}: {example.command}: {job.get('jobresult')}"
        assert job["jobstatus"] == JobStatus.succeeded, reason
        return dict(job.get("jobresult", {}))

    def _fill(self, text: str) -> str:
        return re.sub(r"\{([\w.]+)\}", lambda found: self._value(found[1]), text)

    def _value(self, path: str) -> str:
        if path == "code":
            return pyotp.TOTP(self.secret).now()
        name, _, inner = path.partition(".")
        kept = self.kept[name]
        value = follow(kept, inner or "id") if isinstance(kept, dict) else kept
        assert value is not None, f"no {inner} in {kept}"
        return as_text(value)


def unpack(body: dict[str, Any]) -> dict[str, Any]:
    """The object of an answer, or the first of its list."""
    inner = [value for key, value in body.items() if key != "count"]
    if len(inner) == 1 and isinstance(inner[0], dict):
        return dict(inner[0])
    if len(inner) == 1 and isinstance(inner[0], list):
        return dict(inner[0][0]) if inner[0] and isinstance(inner[0][0], dict) else {}
    return body


def follow(value: Any, path: str) -> Any:
    """`nic.0.id` of an answer; None if it is not there."""
    for key in path.split("."):
        if isinstance(value, list):
            value = value[int(key)] if int(key) < len(value) else None
        else:
            value = value.get(key) if isinstance(value, dict) else None
    return value


def as_text(value: Any) -> str:
    """A value as examples write it."""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(as_text, value)) if isinstance(value, list) else str(value)
