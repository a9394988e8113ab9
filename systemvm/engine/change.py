"""One transition of a machine: stage, native checks, swap and apply service by service, undo."""

import logging
import shutil
from collections.abc import Iterable
from dataclasses import dataclass

from systemvm.engine.errors import CommandError, EngineError
from systemvm.engine.service import Doors, Rendering, Service
from systemvm.engine.swap import Swap, is_as, under, write_file
from systemvm.spec.types import Problem

log = logging.getLogger(__name__)

#: Refused renderings that are kept for debugging.
REFUSED_KEPT = 3


@dataclass(frozen=True)
class Step:
    """What one service has to change."""

    service: Service
    new: Rendering
    old: Rendering


class StepFailed(EngineError):
    """A service could not be changed; `problem` says it in the service's own words."""

    def __init__(self, service: str, error: Exception) -> None:
        said = str(error) or repr(error)
        super().__init__(f"{service}: {said}")
        self.problem = Problem(path=service, message=said)


class Change:
    """The steps to one generation, in their order.

    Use: `stage`, `refusals`, `prepare`, `perform`; then `undo` if it does not work; always `close`.
    """

    def __init__(self, steps: Iterable[Step], doors: Doors, generation: int) -> None:
        self._steps = list(steps)
        self._doors = doors
        self._generation = generation
        self._stage = doors.run_dir / "stage" / str(generation)
        self._swaps = {
            step.service.name: Swap(doors.root, step.new.files, step.old.files) for step in self._steps
        }
        self._begun: list[Step] = []

    @property
    def services(self) -> tuple[str, ...]:
        """Names of the services that change."""
        return tuple(step.service.name for step in self._steps)

    def stage(self) -> None:
        """Write the rendered files where the daemons' own checkers can read them. Raises OSError."""
        shutil.rmtree(self._stage, ignore_errors=True)
        # Keys are among the files: nobody but root may look in.
        self._stage.mkdir(parents=True, mode=0o700)
        for step in self._steps:
            for file in step.new.files:
                target = under(self._stage, file.path)
                target.parent.mkdir(parents=True, exist_ok=True)
                write_file(target, file)

    def refusals(self) -> list[Problem]:
        """What the daemons' own checkers say against the staged files; all of them."""
        problems = []
        for step in self._steps:
            for check in step.new.checks:
                argv = tuple(word.replace("{stage}", str(self._stage)) for word in check.argv)
                try:
                    self._doors.run(argv)
                except CommandError as refusal:
                    words = str(refusal).replace(str(self._stage), "")
                    problems.append(Problem(path=step.service.name, message=words))
        return problems

    def prepare(self) -> None:
        """Take all disk space that the swap needs. Raises OSError, with nothing changed."""
        try:
            for swap in self._swaps.values():
                swap.prepare()
        except BaseException:
            for swap in self._swaps.values():
                swap.discard()
            raise

    def perform(self) -> None:
        """Swap and apply each service in turn. Raises StepFailed at the first that cannot."""
        for step in self._steps:
            self._begun.append(step)
            self._perform_step(step)

    def perform_all(self) -> list[StepFailed]:
        """As `perform`, but goes on after a failure: as much as possible is better than nothing."""
        failures = []
        for step in self._steps:
            try:
                self._perform_step(step)
            except StepFailed as failure:
                failures.append(failure)
        return failures

    def undo(self) -> list[StepFailed]:
        """Bring back the old rendering of every service that was begun; what could not be is returned."""
        failures = []
        for step in self._begun:
            name = step.service.name
            try:
                self._swaps[name].undo()
                self._stop_unwanted(step.new, step.old)
                step.service.apply(step.old, step.new, self._doors)
                log.info("%s is back, because generation %d failed", name, self._generation)
            except Exception as error:
                log.exception("%s could not be brought back", name)
                failures.append(StepFailed(name, error))
        return failures

    def keep_refused(self) -> None:
        """Keep the staged files for whoever debugs them, under `run_dir/refused/<generation>`."""
        folder = self._doors.run_dir / "refused"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self._stage.exists():
            return
        shutil.rmtree(folder / str(self._generation), ignore_errors=True)
        self._stage.replace(folder / str(self._generation))
        kept = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in kept[REFUSED_KEPT:]:
            shutil.rmtree(old, ignore_errors=True)

    def close(self) -> None:
        """Remove everything temporary."""
        for swap in self._swaps.values():
            swap.discard()
        shutil.rmtree(self._stage, ignore_errors=True)

    def _perform_step(self, step: Step) -> None:
        try:
            self._swaps[step.service.name].commit()
            self._stop_unwanted(step.old, step.new)
            step.service.apply(step.new, step.old, self._doors)
        except (EngineError, OSError) as error:
            raise StepFailed(step.service.name, error) from error
        except Exception as error:
            log.exception("%s broke while it was applied", step.service.name)
            raise StepFailed(step.service.name, error) from error

    def _stop_unwanted(self, before: Rendering, after: Rendering) -> None:
        wanted = {daemon.name for daemon in after.daemons}
        for daemon in before.daemons:
            if daemon.name not in wanted:
                self._doors.daemons.stop(daemon.name)


def is_intact(rendering: Rendering, doors: Doors) -> bool:
    """Whether the files are still as rendered and the daemons still run."""
    files_are = all(is_as(under(doors.root, file.path), file) for file in rendering.files)
    return files_are and all(doors.daemons.is_running(daemon.name) for daemon in rendering.daemons)


def problems_of(error: Exception) -> tuple[Problem, ...]:
    """What a failure has to say, service by service."""
    if isinstance(error, StepFailed):
        return (error.problem,)
    if isinstance(error, EngineError) and error.problems:
        return error.problems
    if not isinstance(error, EngineError | OSError):
        log.exception("the engine broke", exc_info=error)
    return (Problem(path="engine", message=str(error) or repr(error)),)


def in_words(problems: Iterable[Problem]) -> str:
    """Problems as one line."""
    return "; ".join(f"{problem.path}: {problem.message}" for problem in problems)
