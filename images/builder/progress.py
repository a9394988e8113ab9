"""How a build tells where it is: one context per step; the command line shows it, tests record it."""

import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console

log = logging.getLogger(__name__)


class Progress(Protocol):
    """Follows the steps of a build."""

    def step(self, name: str) -> AbstractContextManager[None]:
        """Enter the step `name`; leaving it ends the step."""
        ...


class Quiet:
    """Follows a build in the log only."""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """See Progress."""
        begun = time.monotonic()
        yield
        log.info("%s took %.1f s", name, time.monotonic() - begun)


class OnConsole:
    """Shows the running step with a spinner, and each finished one with its elapsed seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """See Progress."""
        begun = time.monotonic()
        with self._console.status(f"{name} …"):
            try:
                yield
            except BaseException:
                self._console.print(f"[red]failed[/]  {name} after {time.monotonic() - begun:.1f} s")
                raise
        self._console.print(f"[green]done[/]    {name:<40} {time.monotonic() - begun:6.1f} s")
