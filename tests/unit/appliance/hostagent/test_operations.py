"""Work that takes long: joined, refused, cancelled, remembered."""

import threading

import pytest

from appliance.hostagent.errors import Conflict, Refused, StepFailed
from appliance.hostagent.operations import Operation, Operations

pytestmark = pytest.mark.unit


def test_the_same_work_is_joined_and_other_work_is_refused() -> None:
    operations, go, runs = Operations(), threading.Event(), []

    def work(operation: Operation) -> None:
        operation.say("waiting")
        runs.append(1)
        go.wait(5)

    first = operations.start("vm", "VM x", "a", work)
    assert operations.start("vm", "VM x", "a", work) is first
    with pytest.raises(Conflict, match="VM x is busy"):
        operations.start("vm", "VM x", "b", work)
    assert not first.wait(0.01)
    assert operations.get("vm") is first
    go.set()
    assert first.wait(5)
    assert runs == [1]
    assert operations.get("vm") is None, "what went well is not remembered"


def test_failures_are_remembered_until_forgotten_and_name_their_step() -> None:
    operations = Operations()

    def refuse(operation: Operation) -> None:
        raise Refused("no")

    def break_down(operation: Operation) -> None:
        operation.say("counting")
        raise ZeroDivisionError("oh")

    assert operations.start("a", "VM a", "1", refuse).wait(5)
    assert operations.start("b", "VM b", "1", break_down).wait(5)
    assert isinstance(operations.all()["a"].error, Refused)
    error = operations.all()["b"].error
    assert isinstance(error, StepFailed)
    assert "VM b: counting: oh" in str(error)
    operations.forget("a")
    assert set(operations.all()) == {"b"}


def test_cancelling() -> None:
    operations = Operations()

    def work(operation: Operation) -> None:
        assert operation.cancelled.wait(5)

    operations.start("vm", "VM x", "a", work)
    assert operations.cancel("vm", 5)
    assert operations.cancel("never seen", 0)
