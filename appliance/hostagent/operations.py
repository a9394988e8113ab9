"""Work that may take long, one piece at a time per subject, with its progress in words."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, field

from appliance.hostagent.errors import Conflict, StepFailed
from systemvm.engine.errors import EngineError

_log = logging.getLogger("pileus.host")


@dataclass
class Operation:
    """One piece of work on `subject`. `digest` tells whether a second request asks for the same."""

    subject: str
    name: str
    digest: str
    step: str = "waiting for its turn"
    error: EngineError | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)
    future: "Future[None] | None" = None

    def say(self, step: str) -> None:
        """Tell what is being done now."""
        self.step = step

    def is_done(self) -> bool:
        """Whether it ended, well or badly."""
        return self.future is not None and self.future.done()

    def wait(self, seconds: float) -> bool:
        """Wait for the end, for at most `seconds`; whether it ended."""
        if self.future is not None:
            wait_for([self.future], timeout=seconds)
        return self.is_done()


Work = Callable[[Operation], None]


class Operations:
    """Runs work in a few threads. What failed is remembered until the next request for its subject."""

    def __init__(self, workers: int = 8) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="operation")
        self._lock = threading.Lock()
        self._current: dict[str, Operation] = {}

    def start(self, subject: str, name: str, digest: str, work: Work) -> Operation:
        """Start it, or join the same work that is already under way. Raises Conflict for other work."""
        with self._lock:
            current = self._current.get(subject)
            if current and not current.is_done():
                if current.digest == digest:
                    return current
                raise Conflict(f"{name} is busy ({current.step}): ask again when that is done")
            operation = Operation(subject, name, digest)
            self._current[subject] = operation
            operation.future = self._pool.submit(_run, operation, work)
            return operation

    def get(self, subject: str) -> Operation | None:
        """What is under way for it, or the last that failed."""
        operation = self._current.get(subject)
        return operation if operation and (not operation.is_done() or operation.error) else None

    def all(self) -> dict[str, Operation]:
        """Of all subjects, what `get` answers."""
        return {subject: found for subject in list(self._current) if (found := self.get(subject))}

    def cancel(self, subject: str, seconds: float) -> bool:
        """Ask the work on it to end, and wait; whether nothing is under way any more."""
        operation = self._current.get(subject)
        if operation is None:
            return True
        operation.cancelled.set()
        return operation.wait(seconds)

    def forget(self, subject: str) -> None:
        """Drop the memory of a failure."""
        with self._lock:
            current = self._current.get(subject)
            if current and current.is_done():
                del self._current[subject]


def _run(operation: Operation, work: Work) -> None:
    try:
        work(operation)
    except EngineError as error:
        operation.error = error
        _log.warning("%s failed at: %s: %s", operation.name, operation.step, error)
    except Exception as error:
        operation.error = StepFailed(operation.name, operation.step, str(error) or type(error).__name__)
        _log.exception("%s failed at: %s", operation.name, operation.step)
