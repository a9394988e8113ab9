"""Whether the machine's clock may be believed: nothing is judged by its age shortly after it jumped."""

import logging
from collections.abc import Callable
from datetime import datetime

log = logging.getLogger(__name__)
#: Seconds that the clock and the passing of time may differ between two looks; and how long a jump counts.
JUMP, CALM = 60.0, 3600.0


class Steady:
    """Compares the clock with the time that really passed (`monotonic`, seconds)."""

    def __init__(self, now: Callable[[], datetime], monotonic: Callable[[], float]) -> None:
        self._now = now
        self._monotonic = monotonic
        self._last: tuple[datetime, float] | None = None
        self._until: float | None = None

    def look(self) -> bool:
        """Whether the clock has not jumped for a while."""
        moment, passed = self._now(), self._monotonic()
        if self._last is not None:
            by = (moment - self._last[0]).total_seconds() - (passed - self._last[1])
            if abs(by) > JUMP:
                words = "forward" if by > 0 else "back"
                log.warning(
                    "nothing is deleted by its age for %.0f s, because the clock jumped %s by %.0f s",
                    CALM,
                    words,
                    abs(by),
                )
                self._until = passed + CALM
        self._last = (moment, passed)
        return self._until is None or passed >= self._until
