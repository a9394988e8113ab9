"""One number that Pileus promises, and the baseline it is measured against in the same run."""

import time
from collections.abc import Callable
from statistics import median

from msgspec import Struct


class Measurement(Struct, frozen=True, kw_only=True):
    """Seconds of ours beside seconds of the baseline; `goal` is the most their ratio may be."""

    name: str
    seconds: float
    baseline: str
    baseline_seconds: float
    goal: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float:
        """How many times the baseline."""
        return self.seconds / self.baseline_seconds

    @property
    def missed(self) -> bool:
        """Whether there is a goal and the ratio is above it."""
        return self.goal is not None and self.ratio > self.goal


class Missing(Struct, frozen=True, kw_only=True):
    """A number that could not be measured here, and why: never left out in silence."""

    name: str
    why: str


Finding = Measurement | Missing


def seconds_of(work: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def middle_of(work: Callable[[], object], rounds: int) -> float:
    """Median of the seconds of several calls: one disturbed round does not count."""
    return median(seconds_of(work) for _ in range(rounds))


def middles_of(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Medians of two calls in turn, so that a busy moment falls on both."""
    pairs = [(seconds_of(ours), seconds_of(theirs)) for _ in range(rounds)]
    return median(our for our, _ in pairs), median(their for _, their in pairs)
