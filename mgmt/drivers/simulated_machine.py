"""The agent of a simulated system VM: it parses and checks documents as the real one does, and remembers."""

from typing import Any, TypeVar

import msgspec

from mgmt.agents.certificates import Shown
from mgmt.agents.errors import AgentConflict, AgentNotFound, AgentRefused
from mgmt.agents.machine import AddressTraffic, Applied, MachineHealth
from mgmt.drivers.simulated_identity import SimulatedIdentity
from systemvm.spec import codec
from systemvm.spec.appliances import TemplateSource, TemplateState, TemplateStatus
from systemvm.spec.bootstrap import Bootstrap
from systemvm.spec.certificate import CertificateRequest, CertificateTaken, SignedCertificate
from systemvm.spec.state import State
from systemvm.spec.types import Problem

T = TypeVar("T")
#: Size that every simulated template turns out to have, in bytes.
TEMPLATE_BYTES = 64 * 1024**2


class SimulatedMachine:
    """`MachineAgent` in memory. `templates` may be changed by a test to play a slow or failing download.

    While it `is_full` there is room for nothing more.

    Nobody answers before `boots_until`, in simulated time.
    """

    def __init__(self, bootstrap: Bootstrap, boots_until: float = 0.0) -> None:
        self.bootstrap = bootstrap
        self.boots_until = boots_until
        self.state: State | None = None
        self.is_healthy = True
        self.is_full = False
        self.templates: dict[str, TemplateStatus] = {}
        self.traffic: dict[str, AddressTraffic] = {}
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
        if self.state is not None:
            self._download(self.state)
        answers: dict[str, Any] = {
            "storage/templates": list(self.templates.values()),
            "usage": {"addresses": list(self.traffic.values())},
        }
        if path not in answers:
            raise AgentNotFound(self._where(), f"no service tells {path}")
        return msgspec.convert(msgspec.to_builtins(answers[path]), type=kind)

    def receive(self, upload: str, size: int, sha256: str) -> str:
        """Take an upload in as the storage VM does; why not, in words, if not."""
        status = self.templates.get(upload)
        if status is None:
            return f"{upload} was taken off the list while it was being sent"
        if self.is_full:
            return "the storage VM refuses it: the storage VM's data disk has no room for it"
        if status.state is not TemplateState.ready:
            self.templates[upload] = _ready(upload, size, sha256)
        return ""

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
        for source in state.storage.templates if state.storage else ():
            status = self.templates.get(source.id)
            if status is None or (status.state is TemplateState.waiting and status.error):
                self.templates[source.id] = self._fetched(source)

    def _fetched(self, source: TemplateSource) -> TemplateStatus:
        if source.url and self.is_full:
            words = f"the data disk has no room: it needs {TEMPLATE_BYTES} more bytes, 0 are free"
            return TemplateStatus(id=source.id, state=TemplateState.waiting, error=words)
        if source.url:
            return _ready(source.id, TEMPLATE_BYTES, "0" * 64)
        if not source.copy_of:
            return TemplateStatus(id=source.id, state=TemplateState.waiting)
        original = self.templates.get(source.copy_of)
        if original is None or original.state is not TemplateState.ready:
            words = f"{source.copy_of}, which it is a copy of, is not here"
            return TemplateStatus(id=source.id, state=TemplateState.failed, error=words)
        return _ready(source.id, original.size, original.sha256)

    def _where(self) -> str:
        return f"agent of {self.bootstrap.name}"


def _ready(template: str, size: int, sha256: str) -> TemplateStatus:
    return TemplateStatus(
        id=template, state=TemplateState.ready, percent=100, size=size, virtual_size=size, sha256=sha256
    )
