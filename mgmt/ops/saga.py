"""Steps with their undo: what a workflow is made of.

A workflow is a plain function of a Saga. Everything it does, and everything it reads that may change,
happens inside steps; their results are recorded, so that a workflow that was cut (`kill -9`) runs again
from the top, is given the recorded results, and goes on where it was. Steps must therefore be idempotent:
the one that was cut runs twice.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from mgmt.agents.errors import AgentConflict, AgentError, AgentUnreachable
from mgmt.model.errors import CloudError, Unavailable

log = logging.getLogger(__name__)
T = TypeVar("T")
Part = tuple[str, Callable[[], object]]
"""A name and what is to be done."""


class StepFailed(Exception):
    """A step did not succeed: which, why, and the API's error code."""

    def __init__(self, step: str, code: int, reason: str) -> None:
        super().__init__(step, code, reason)
        self.step = step
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.step}: {self.reason}"


class Record(Protocol):
    """Runs a step once, and gives its recorded result ever after."""

    def __call__(self, name: str, function: Callable[[], Any]) -> Any:
        """The result of `function`, plain data; raises StepFailed."""


class Saga:
    """One run of a workflow. `record` runs steps, `say` shows what is being done."""

    def __init__(self, record: Record, say: Callable[[str], None] | None = None) -> None:
        self._record = record
        self._say = say or _silent
        self._undo: list[tuple[str, Callable[[], object]]] = []

    def step(self, name: str, function: Callable[[], T], undo: Callable[[T], object] | None = None) -> T:
        """Do one thing. Once it succeeded, `undo` (given its result) is what takes it back.

        `function` returns plain data (None, text, numbers, lists, dicts). Raises StepFailed.
        """
        self._say(name)
        result: T = self._record(name, function)
        if undo is not None:
            take_back = undo
            self._undo.append((name, lambda: take_back(result)))
        return result

    def together(self, name: str, parts: Iterable[Part], result: Callable[[], T]) -> T:
        """Do several things as one step, which costs one record: each must bear being done again.

        `parts` may be made while they are done. `result` is asked last for what is recorded, plain data.
        A part that fails names the step that failed.
        """

        def do() -> dict[str, Any]:
            for part, function in parts:
                self._say(part)
                outcome = outcome_of(part, lambda function=function: _discard(function()))  # type: ignore[misc]
                if "error" in outcome:
                    return {"failed": part, **outcome}
            return {"result": result()}

        outcome: dict[str, Any] = self._record(name, do)
        if "failed" in outcome:
            raise StepFailed(outcome["failed"], *outcome["error"])
        done: T = outcome["result"]
        return done

    def tell(self, text: str) -> None:
        """Show how far the step is that is being done."""
        self._say(text)

    def on_failure(self, name: str, function: Callable[[], object]) -> None:
        """Something to do if a later step fails; for steps that leave traces even when they fail."""
        self._undo.append((name, function))

    def roll_back(self) -> list[str]:
        """Undo all steps, the last one first; sentences about those that could not be undone."""
        failures = []
        while self._undo:
            name, function = self._undo.pop()
            try:
                self._record(f"undo: {name}", lambda function=function: _discard(function()))  # type: ignore[misc]
            except StepFailed as failure:
                log.error("%s could not be undone, because %s", name, failure.reason)
                failures.append(f"{name} could not be undone: {failure.reason}")
        return failures

    @contextmanager
    def nested(self, about: str = "") -> Iterator["Saga"]:
        """Steps that stay once they are all done, whatever fails later; undone at once if one fails.

        What is shown of them begins with `about`, where one job does the same to several objects.
        """
        say = self._say
        inner = Saga(self._record, (lambda step: say(f"{about}: {step}")) if about else say)
        try:
            yield inner
        except StepFailed:
            inner.roll_back()
            raise


def run_directly(name: str, function: Callable[[], Any]) -> Any:
    """A `Record` without a record: for tests, and for work that the reconcile loop repeats anyway."""
    return outcome_value(name, outcome_of(name, function))


def outcome_of(name: str, function: Callable[[], Any]) -> dict[str, Any]:
    """Run a step and describe what became of it as plain data, which any store can keep."""
    try:
        return {"value": function()}
    except StepFailed as failure:
        return {"error": [failure.code, str(failure)]}
    except CloudError as error:
        return {"error": [error.code, error.text]}
    except (AgentUnreachable, AgentConflict) as error:
        return {"error": [Unavailable.code, str(error)]}
    except AgentError as error:
        return {"error": [CloudError.code, str(error)]}
    except Exception as error:
        log.exception("step %r failed unexpectedly", name)
        return {"error": [CloudError.code, f"{type(error).__name__}: {error}"]}


def outcome_value(name: str, outcome: dict[str, Any]) -> Any:
    """The result in a step's outcome. Raises StepFailed."""
    if "error" in outcome:
        code, reason = outcome["error"]
        raise StepFailed(name, code, reason)
    return outcome["value"]


def _discard(_result: object) -> None:
    return None


def _silent(_step: str) -> None:
    return None
