"""Errors of the engine: one root, stable codes, the HTTP status each maps to."""

from collections.abc import Iterable

from systemvm.spec.types import Problem


class EngineError(Exception):
    """Root of all errors of the runtime; `code` is stable, `status` is the agent's HTTP answer."""

    code = "internal"
    status = 500
    #: What is wrong where, when there is more than one thing to say.
    problems: tuple[Problem, ...] = ()


class CommandError(EngineError):
    """A program failed; carries what it was, how it ended and what it said."""

    code = "command_failed"

    def __init__(self, argv: tuple[str, ...], returncode: int | None, stdout: str, stderr: str) -> None:
        self.argv, self.returncode, self.stdout, self.stderr = argv, returncode, stdout, stderr
        ended = "timed out" if returncode is None else f"exit code {returncode}"
        said = (stderr or stdout).strip() or "it said nothing"
        super().__init__(f"{argv[0]}: {ended}: {said}")


class InvalidDocument(EngineError):
    """A document has mistakes; all of them are in `problems`."""

    code = "invalid_document"
    status = 422

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(f"{problem.path}: {problem.message}" for problem in problems))
        self.problems = tuple(problems)


class StaleGeneration(EngineError):
    """A document is older than the one that is applied."""

    code = "stale_generation"
    status = 409


class Busy(EngineError):
    """Another apply is running; the message names its generation."""

    code = "busy"
    status = 409


class ApplyFailed(EngineError):
    """A document was refused by a daemon, or did not work; the last good generation is back.

    `problems` holds what each service had to say, in its daemons' own words; its path is the service.
    """

    code = "apply_failed"
    status = 500

    def __init__(self, message: str, problems: Iterable[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)
