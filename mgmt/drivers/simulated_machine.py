"""The agent of a simulated system VM: it parses and checks documents as the real one does, and remembers."""

from typing import Any, TypeVar

import msgspec

from mgmt.agents.certificates import Shown
from mgmt.agents.errors import AgentConflict, AgentNotFound, AgentRefused
from mgmt.agents.machine import Applied, MachineHealth
from mgmt.drivers.simulated_identity import SimulatedIdentity
from systemvm.spec import codec
from systemvm.spec.appliances import TemplateState, TemplateStatus
from systemvm.spec.bootstrap import Bootstrap
from systemvm.spec.certificate import CertificateRequest, CertificateTaken, SignedCertificate
from systemvm.spec.state import State
from systemvm.spec.types import Problem

T = TypeVar("T")
#: Size that every simulated template turns out to have, in bytes.
TEMPLATE_BYTES = 64 * 1024**2


class SimulatedMachine:
    """`MachineAgent` in memory. `templates` may be changed by a test to play a slow or failing download.

    Nobody answers before `boots_until`, in simulated time.
    """

    def __init__(self, bootstrap: Bootstrap, boots_until: float = 0.0) -> None:
        self.bootstrap = bootstrap
        self.boots_until = boots_until
        self.state: State | None = None
        self.is_healthy = True
        self.templates: dict[str, TemplateStatus] = {}
        self.identity = SimulatedIdentity(self._where(), bootstrap.certificate, bootstrap.key)

    @property
    def linklocal_address(self) -> str:
        """Where it is reached."""
        return self.bootstrap.linklocal_address.partition("/")[0]

    def put_state(self, state: State) -> Applied:
        """See MachineAgent. Refuses what the real agent's engine refuses before it touches anything."""
        raw = codec.encode(state)
        problems = [*codec.problems(raw, State), *self._wrong_place(state)]
        if problems:
            raise AgentRefused(self._where(), f"{len(problems)} problems", problems)
        if self.state is not None:
            last = self.state.generation
            if state.generation < last:
                raise AgentConflict(self._where(), f"generation {state.generation} is older than {last}")
            if state.generation == last and raw != codec.encode(self.state):
                raise AgentConflict(self._where(), f"generation {last} is applied with other content")
        result = "unchanged" if self.state == state else "applied"
        self.state = state
        self._download(state)
        return Applied(generation=state.generation, result=result)

    def health(self) -> MachineHealth:
        """See MachineAgent."""
        applied = self.state.generation if self.state else None
        message = "works" if self.is_healthy else "told to be ill"
        return MachineHealth(healthy=self.is_healthy, activity="ready", applied=applied, message=message)

    def read(self, path: str, kind: type[T]) -> T:
        """See MachineAgent."""
        answers: dict[str, Any] = {"storage/templates": list(self.templates.values())}
        if path not in answers:
            raise AgentNotFound(self._where(), f"no service tells {path}")
        return msgspec.convert(msgspec.to_builtins(answers[path]), type=kind)

    def certificate(self) -> Shown:
        """See Certified."""
        return self.identity.shown()

    def request_certificate(self) -> CertificateRequest:
        """See Certified."""
        return self.identity.request()

    def put_certificate(self, signed: SignedCertificate) -> CertificateTaken:
        """See Certified."""
        return self.identity.take(signed)

    def _wrong_place(self, state: State) -> list[Problem]:
        problems = []
        if state.machine != self.bootstrap.machine:
            problems.append(Problem(path="machine", message=f"this is {self.bootstrap.machine}"))
        if state.role != self.bootstrap.role:
            problems.append(Problem(path="role", message=f"this is a {self.bootstrap.role}"))
        macs = {nic.mac for nic in self.bootstrap.nics}
        for index, nic in enumerate(state.interfaces.nics):
            if nic.mac not in macs:
                problems.append(Problem(path=f"interfaces.nics[{index}].mac", message=f"no NIC {nic.mac}"))
        return problems

    def _download(self, state: State) -> None:
        wanted = {source.id for source in state.storage.templates} if state.storage else set()
        self.templates = {key: status for key, status in self.templates.items() if key in wanted}
        for key in wanted - self.templates.keys():
            self.templates[key] = TemplateStatus(
                id=key,
                state=TemplateState.ready,
                percent=100,
                size=TEMPLATE_BYTES,
                virtual_size=TEMPLATE_BYTES,
                sha256="0" * 64,
            )

    def _where(self) -> str:
        return f"agent of {self.bootstrap.name}"
