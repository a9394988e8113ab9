"""Runs a list of steps with progress: each prints its name, what it does now, and the time it took.

A step that fails says which, why and what to do next; its own `undo` then removes what it left half-made.
Steps are idempotent: run again, they find what is there.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.status import Status


class StepFailed(Exception):
    """A step did not succeed. `hint` says what to do next."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


#: Without a terminal: least seconds between two lines of a step.
QUIET_SECONDS = 2.0
#: Given to a step, so that it can say what it does now.
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Step:
    """One line of `pileus up`. `run` returns what it found or made, in words."""

    name: str
    run: Callable[[Progress], str]
    hint: str = ""
    undo: Callable[[], None] | None = None


def run_steps(steps: list[Step], console: Console) -> None:
    """Run them in order. Raises StepFailed at the first that fails, after undoing it."""
    for step in steps:
        started = time.monotonic()
        with console.status(step.name) as status:
            try:
                outcome = step.run(_progress(step, status, console, started))
            except Exception as error:
                status.stop()
                console.print(f"[red]✗[/] {step.name} [dim]{_elapsed(started)}[/]", highlight=False)
                if step.undo:
                    step.undo()
                raise _explain(step, error) from error
        done = f"[green]✓[/] {step.name}: {escape(outcome)} [dim]{_elapsed(started)}[/]"
        console.print(done, highlight=False)


def _progress(step: Step, status: Status, console: Console, started: float) -> Progress:
    printed = started

    def say(words: str) -> None:
        nonlocal printed
        status.update(f"{step.name}: {escape(words)}")
        # A log file has no spinner; it gets a line every few seconds.
        if not console.is_terminal and time.monotonic() - printed >= QUIET_SECONDS:
            printed = time.monotonic()
            console.print(f"  {step.name}: {escape(words)} [dim]{_elapsed(started)}[/]", highlight=False)

    return say


def _elapsed(started: float) -> str:
    return f"{time.monotonic() - started:.1f} s"


def _explain(step: Step, error: Exception) -> StepFailed:
    if isinstance(error, StepFailed):
        return StepFailed(f"{step.name}: {error}", error.hint or step.hint)
    return StepFailed(f"{step.name}: {error}", step.hint)
