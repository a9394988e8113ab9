"""Errors of the host agent: stable codes, the HTTP status each maps to."""

from systemvm.engine.errors import EngineError


class HostError(EngineError):
    """Root of what goes wrong on a host."""

    code = "host_error"


class StepFailed(HostError):
    """One step of an operation on a VM or volume failed; what it had made is removed."""

    code = "step_failed"

    def __init__(self, subject: str, step: str, cause: str) -> None:
        super().__init__(f"{subject}: {step}: {cause}")
        self.step = step


class NotFound(HostError):
    """No such VM, volume or template on this host."""

    code = "not_found"
    status = 404


class Conflict(HostError):
    """Something of that name exists and is not ours, or is in use."""

    code = "conflict"
    status = 409


class Refused(HostError):
    """The request is well-formed, but cannot be done on this host."""

    code = "refused"
    status = 422


class NoRoom(HostError):
    """A disk of the host is full; what was begun is gone."""

    code = "no_room"


class Cancelled(HostError):
    """Nobody wants the work any more."""

    code = "cancelled"
    status = 409


class HypervisorUnavailable(HostError):
    """libvirtd does not answer."""

    code = "hypervisor_unavailable"
    status = 503
