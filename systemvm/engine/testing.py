"""Doors that touch nothing and remember everything, for tests of services and of the engine.

`RecordedDaemons` passes the same contract tests as the real ones; `RecordedRunner` answers by the first
word, or words, of a command.
"""

from collections.abc import Callable
from pathlib import Path

from systemvm.engine.command import Result
from systemvm.engine.daemons import Daemon
from systemvm.engine.errors import CommandError
from systemvm.engine.service import Doors

Answer = Result | CommandError | Callable[[tuple[str, ...]], Result]


class RecordedDaemons:
    """Implements `Daemons` in memory. `calls` lists what was done: `("start", name)`, `("reload", name)`, …

    `refusals` maps a daemon's name to the words with which it dies when it is started or reloaded.
    """

    def __init__(self) -> None:
        self.running: dict[str, Daemon] = {}
        self.calls: list[tuple[str, str]] = []
        self.refusals: dict[str, str] = {}
        self.printed: dict[str, list[str]] = {}
        self._pids: dict[str, int] = {}
        self._last_pid = 1000

    def ensure(self, daemon: Daemon) -> bool:
        """See Daemons."""
        if self.running.get(daemon.name) == daemon:
            return False
        self.stop(daemon.name)
        self._start(daemon)
        return True

    def reload(self, daemon: Daemon) -> None:
        """See Daemons."""
        if self.ensure(daemon):
            return
        if daemon.reload:
            self._refuse(daemon)
            self.calls.append(("reload", daemon.name))
            return
        self.stop(daemon.name)
        self._start(daemon)

    def stop(self, name: str) -> None:
        """See Daemons."""
        if self.running.pop(name, None) is not None:
            self._pids.pop(name)
            self.calls.append(("stop", name))

    def is_running(self, name: str) -> bool:
        """See Daemons."""
        return name in self.running

    def pid(self, name: str) -> int | None:
        """See Daemons."""
        return self._pids.get(name)

    def logs(self, name: str, lines: int) -> list[str]:
        """See Daemons."""
        return self.printed.get(name, [])[-lines:] if lines > 0 else []

    def _start(self, daemon: Daemon) -> None:
        self._refuse(daemon)
        self._last_pid += 1
        self.running[daemon.name] = daemon
        self._pids[daemon.name] = self._last_pid
        self.calls.append(("start", daemon.name))

    def _refuse(self, daemon: Daemon) -> None:
        if daemon.name in self.refusals:
            raise CommandError(daemon.argv, 1, "", self.refusals[daemon.name])


class RecordedRunner:
    """Implements `Runner`: keeps every argv in `calls`, answers from `answers` by the longest prefix.

    A command that has no answer succeeds and prints nothing.
    """

    def __init__(self, answers: dict[tuple[str, ...], Answer] | None = None) -> None:
        self.answers = dict(answers or {})
        self.calls: list[tuple[str, ...]] = []
        self.stdins: list[str | None] = []

    def __call__(
        self,
        argv: tuple[str, ...] | list[str],
        *,
        stdin: str | None = None,
        timeout: float = 30.0,
        accept: tuple[int, ...] = (0,),
    ) -> Result:
        """Run nothing; answer, or raise, what the test said."""
        command = tuple(argv)
        self.calls.append(command)
        self.stdins.append(stdin)
        prefixes = [prefix for prefix in self.answers if command[: len(prefix)] == prefix]
        answer = self.answers[max(prefixes, key=len)] if prefixes else Result("", "")
        if isinstance(answer, CommandError):
            if answer.returncode in accept:
                return Result(answer.stdout, answer.stderr)
            raise answer
        return answer if isinstance(answer, Result) else answer(command)


def recorded_doors(root: Path, now: Callable[[], float] = lambda: 0.0) -> Doors:
    """Doors over a folder; `doors.daemons` and `doors.run` are recordings."""
    return Doors(
        run=RecordedRunner(),
        daemons=RecordedDaemons(),
        now=now,
        root=root,
        state_dir=root / "var/lib/pileus",
        run_dir=root / "run/pileus",
    )
