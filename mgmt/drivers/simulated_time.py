"""How fast time passes in a simulated cloud."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class SimulatedTime:
    """Every second of `monotonic` and `sleep` is `speed` simulated seconds. Tests bring their own clock."""

    speed: float = 1.0
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def now(self) -> float:
        """Simulated seconds since some moment."""
        return self.monotonic() * self.speed

    def wait(self, seconds: float) -> None:
        """Let simulated seconds pass."""
        if seconds > 0:
            self.sleep(seconds / self.speed)
