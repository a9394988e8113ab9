"""`python -m appliance.launcher.keeper FOLDER`: starts daemons again that died, where no systemd does.

A daemon that was stopped has no record in the folder and stays stopped. The keeper holds nothing: when it
dies itself, all goes on, and the next `pileus up` starts another one.
"""

import logging
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from systemvm.engine.errors import CommandError
from systemvm.engine.processes import Processes, collect

#: Seconds between two looks.
PERIOD = 0.5
#: Seconds until what dies at once is started again, doubled each time up to the last value.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
log = logging.getLogger("pileus.keeper")


class Keeper:
    """Looks after the daemons whose records are in a folder."""

    def __init__(self, processes: Processes, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._processes = processes
        self._monotonic = monotonic
        self._not_before: defaultdict[str, float] = defaultdict(float)
        self._pauses: defaultdict[str, float] = defaultdict(float)

    def look(self) -> list[str]:
        """Start what has died; the names."""
        collect(())
        dead = [name for name in self._processes.dead() if self._monotonic() >= self._not_before[name]]
        return [name for name in dead if self._start(name)]

    def _start(self, name: str) -> bool:
        # One that ran for a while since its last start begins with a short pause again.
        has_lasted = self._monotonic() - self._not_before[name] > LONGEST_PAUSE
        pause = FIRST_PAUSE if has_lasted else min(max(self._pauses[name] * 2, FIRST_PAUSE), LONGEST_PAUSE)
        self._pauses[name], self._not_before[name] = pause, self._monotonic() + pause
        try:
            if not self._processes.revive(name):
                return False
        except CommandError as error:
            log.error("%s is started again in %.0f s, because it died at once: %s", name, pause, error)
            return False
        log.warning("%s was started again, because its process was gone", name)
        return True


def main(arguments: list[str]) -> int:
    """Look until somebody ends this process."""
    (folder,) = arguments
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    keeper = Keeper(Processes(Path(folder)))
    while True:
        keeper.look()
        time.sleep(PERIOD)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
