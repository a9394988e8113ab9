"""Faults that a simulated cloud shows on request: errors, delays, answers that get lost."""

import copy
import itertools
import threading
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mgmt.agents.errors import AgentError
from mgmt.drivers.simulated_time import SimulatedTime

#: In place of a call's name: all of them.
ANY_CALL = "*"


@dataclass(kw_only=True)
class Fault:
    """What a call meets, `left` more times (None: until it is cleared).

    `delay` are simulated seconds; `error` (None: only the delay) comes before anything has happened, or,
    if `is_done`, instead of the answer. `place` is the id of the zone, pod, cluster or host that it is about
    (empty: everywhere).
    """

    call: str
    error: AgentError | None = None
    is_done: bool = False
    delay: float = 0.0
    left: int | None = 1
    place: str = ""
    id: int = 0

    def is_met(self, call: str, places: Collection[str]) -> bool:
        """Whether a call on a host in `places` meets it."""
        if self.left == 0 or (self.place and self.place not in places):
            return False
        return self.call in (call, ANY_CALL)


class Faults:
    """What goes wrong next, by the name of the call (`put_domain`, `put_state`, `machine.put_state`…).

    Of several that fit, a call meets the one that was planned first. `latency` delays every call, in
    simulated seconds.
    """

    def __init__(self, latency: float = 0.0, time: SimulatedTime | None = None) -> None:
        self.latency = latency
        self.time = time or SimulatedTime()
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._planned: dict[int, Fault] = {}
        self._calls: defaultdict[str, int] = defaultdict(int)

    def plan(self, fault: Fault) -> Fault:
        """Let it happen from now on; the fault, with its number."""
        with self._lock:
            fault.id = next(self._ids)
            self._planned[fault.id] = fault
        return fault

    def fail(self, call: str, error: AgentError, times: int = 1) -> None:
        """Let the next `times` calls of that name raise `error`, before anything has happened."""
        self.plan(Fault(call=call, error=error, left=times))

    def find(self, number: int) -> Fault | None:
        """A fault that was planned, also one that is used up; None for one that is not, or was cleared."""
        return self._planned.get(number)

    def clear(self, number: int | None = None) -> bool:
        """Forget one fault, or all; whether there was one."""
        with self._lock:
            found = bool(self._planned) if number is None else number in self._planned
            if number is None:
                self._planned.clear()
            else:
                self._planned.pop(number, None)
        return found

    def count(self, call: str) -> int:
        """How often a call was made, failed ones included."""
        return self._calls[call]

    def counts(self) -> dict[str, int]:
        """The same of all calls that were made."""
        with self._lock:
            return dict(self._calls)

    def meet(self, call: str, places: Collection[str] = ()) -> None:
        """Take part in a call whose answer cannot be lost; as `met`."""
        with self.met(call, places):
            pass

    @contextmanager
    def met(self, call: str, places: Collection[str] = ()) -> Iterator[None]:
        """Take part in a call on a host in `places` (ids): count it, wait, raise what is planned for it."""
        fault = self.take(call, places)
        self.time.wait(self.latency + (fault.delay if fault else 0.0))
        if fault is not None and fault.error is not None and not fault.is_done:
            raise copy.copy(fault.error)
        yield
        if fault is not None and fault.error is not None:
            raise copy.copy(fault.error)

    def take(self, call: str, places: Collection[str]) -> Fault | None:
        """Count a call, and use up what is planned for it."""
        with self._lock:
            self._calls[call] += 1
            fault = next((each for each in self._planned.values() if each.is_met(call, places)), None)
            if fault is not None and fault.left is not None:
                fault.left -= 1
        return fault
