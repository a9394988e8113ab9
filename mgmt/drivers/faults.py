"""Faults that a simulated cloud shows on request: errors, delays, machines that die."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable

from mgmt.agents.errors import AgentError


class Faults:
    """Plans what goes wrong next, by the name of the call (`put_domain`, `put_state`, `machine.put_state`…).

    `latency` delays every call, in seconds; `sleep` is the clock that it waits by.
    """

    def __init__(self, latency: float = 0.0, sleep: Callable[[float], None] = time.sleep) -> None:
        self.latency = latency
        self._sleep = sleep
        self._lock = threading.Lock()
        self._planned: defaultdict[str, list[AgentError]] = defaultdict(list)
        self._calls: defaultdict[str, int] = defaultdict(int)

    def fail(self, call: str, error: AgentError, times: int = 1) -> None:
        """Let the next `times` calls of that name raise `error`, before anything has happened."""
        with self._lock:
            self._planned[call] += [error] * times

    def count(self, call: str) -> int:
        """How often a call was made, failed ones included."""
        return self._calls[call]

    def meet(self, call: str) -> None:
        """Take part in a call: wait, count it, and raise what is planned for it."""
        if self.latency:
            self._sleep(self.latency)
        with self._lock:
            self._calls[call] += 1
            planned = self._planned[call]
            error = planned.pop(0) if planned else None
        if error is not None:
            raise error
