"""Jobs that are cut: a record of steps like the durable one, and a server that dies at a chosen step."""

from collections.abc import Callable
from typing import Any

from mgmt.ops.saga import Saga, StepFailed, outcome_of, outcome_value
from mgmt.ops.workflows import run
from tests.unit.mgmt.small_cloud import SmallCloud


class Killed(BaseException):
    """The server died here: no handler of errors runs."""


class Recorded:
    """Keeps the outcome of each step; a run that starts again is given what was kept.

    `die_at_part` is the number of a part of a step that has several (`Saga.together`), of all in the job.
    """

    def __init__(
        self, die_at: int | None = None, *, after: bool = False, die_at_part: int | None = None
    ) -> None:
        self.kept: list[tuple[str, dict[str, Any]]] = []
        self.parts = 0
        self._die_at, self._after, self._die_at_part = die_at, after, die_at_part
        self._step, self._part = die_at, die_at_part
        self._next = 0
        self._is_inside = False

    @property
    def place(self) -> str:
        """Where the server dies, in words."""
        if self._part is not None:
            return f"in part {self._part} of the steps that have parts"
        return f"{'after' if self._after else 'before'} step {self._step}"

    def again(self) -> None:
        """The next server reads the record from its beginning."""
        self._next = 0

    def __call__(self, name: str, function: Callable[[], Any]) -> Any:
        """See `mgmt.ops.saga.Record`."""
        index, self._next = self._next, self._next + 1
        if index < len(self.kept):
            recorded, outcome = self.kept[index]
            assert recorded == name, (
                f"step {index} was {recorded!r}, now it is {name!r}: the order depends on state"
            )
            return outcome_value(name, outcome)
        self._maybe_die(index, after=False)
        self._is_inside = True
        try:
            outcome = outcome_of(name, function)
        finally:
            self._is_inside = False
        self._maybe_die(index, after=True)
        self.kept.append((name, outcome))
        return outcome_value(name, outcome)

    def say(self, _name: str) -> None:
        """Something begins: a step, or a part of the step that is being done."""
        if not self._is_inside:
            return
        part, self.parts = self.parts, self.parts + 1
        if part == self._die_at_part:
            self._die_at_part = None
            raise Killed

    def _maybe_die(self, index: int, *, after: bool) -> None:
        if index == self._die_at and after == self._after:
            self._die_at = None
            raise Killed


def work(cloud: SmallCloud, record: Recorded, workflow: str, arguments: dict[str, Any]) -> bool:
    """One server's attempt at a job, as `mgmt.jobs.durable` makes it. Whether the job succeeded."""
    saga = Saga(record, record.say)
    try:
        run(cloud.runtime, saga, workflow, arguments)
    except StepFailed:
        assert saga.roll_back() == [], "something could not be undone"
        return False
    return True


def survive(cloud: SmallCloud, workflow: str, arguments: dict[str, Any], record: Recorded) -> bool:
    """Run a job through the death of its server to its end. Whether it succeeded."""
    try:
        return work(cloud, record, workflow, arguments)
    except Killed:
        record.again()
        return work(cloud, record, workflow, arguments)
