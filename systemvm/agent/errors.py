"""Errors of the agent itself: what is wrong with the machine at start, or with a request."""

from systemvm.engine.errors import EngineError


class BootError(EngineError):
    """The machine cannot start its agent: no config disk, no such NIC."""

    code = "boot_failed"


class NotFound(EngineError):
    """What was asked for is not on this machine."""

    code = "not_found"
    status = 404


class Forbidden(EngineError):
    """The client's certificate is of the right authority and of the wrong name."""

    code = "forbidden"
    status = 403
