"""What a test starts and another one awaits: most of the ring's time is guests that boot."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from tests.netns.topology import Machine


class Beside:
    """Runs things inside the cloud's machine, beside the tests; what they raise, who awaits them gets."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="beside")
        self._started: dict[str, Future[Any]] = {}

    def start(self, name: str, work: Callable[[], Any]) -> None:
        """Begin it, unless it was begun."""
        if name not in self._started:
            self._started[name] = self._pool.submit(self._enter, work)

    def result(self, name: str, seconds: float = 400) -> Any:
        """What it came to; waits at most `seconds` for it."""
        return self._started[name].result(seconds)

    def close(self) -> None:
        """Wait for all."""
        self._pool.shutdown()

    def _enter(self, work: Callable[[], Any]) -> Any:
        with self._machine.entered():
            return work()
