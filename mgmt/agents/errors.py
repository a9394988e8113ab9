"""What goes wrong between mgmt and an agent; the agent's own words are kept whole."""

from collections.abc import Sequence

from systemvm.spec.types import Problem

#: How many of an agent's problems a message repeats; a document may have thousands.
_REPEATED = 10


class AgentError(Exception):
    """Root. `where` names the agent, `problems` are what it found wrong with a document."""

    def __init__(self, where: str, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(where, message, tuple(problems))
        self.where = where
        self.message = message
        self.problems = tuple(problems)

    def __str__(self) -> str:
        named = [f"{problem.path}: {problem.message}" for problem in self.problems]
        fresh = [words for words in named[:_REPEATED] if words not in self.message]
        more = [f"and {len(named) - _REPEATED} more"] if len(named) > _REPEATED else []
        return "; ".join([f"{self.where}: {self.message}", *fresh, *more])


class AgentUnreachable(AgentError):
    """No answer: connection, TLS or time-out. Whether the request took effect is not known."""


class AgentNotFound(AgentError):
    """The agent has no such object (404), or does not know such a request (405): it is older than that."""


class AgentConflict(AgentError):
    """The agent is busy, or has something newer (409)."""


class AgentRefused(AgentError):
    """The request itself is wrong (any other 4xx, mostly 422); nothing changed."""


class AgentFailed(AgentError):
    """The agent tried and could not (5xx); it has put the last good state back."""


def of_status(status: int) -> type[AgentError]:
    """The error class of an HTTP status."""
    if status in (404, 405):
        return AgentNotFound
    if status == 409:
        return AgentConflict
    return AgentFailed if status >= 500 else AgentRefused
