"""The one door to subprocesses: argv lists, a timeout, a typed error with the program's own words."""

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from systemvm.engine.errors import CommandError

DEFAULT_TIMEOUT = 30.0


@dataclass(frozen=True)
class Result:
    """What a program that ended well printed."""

    stdout: str
    stderr: str


def run(
    argv: Sequence[str],
    *,
    stdin: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    accept: tuple[int, ...] = (0,),
) -> Result:
    """Run a program to its end. Raises CommandError when it fails, is missing, or takes over `timeout` s."""
    command = tuple(argv)
    try:
        done = subprocess.run(
            command,
            input=stdin or "",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError:
        raise CommandError(command, 127, "", "not installed, or not on PATH") from None
    except subprocess.TimeoutExpired as late:
        raise CommandError(command, None, _text(late.stdout), _text(late.stderr)) from None
    if done.returncode not in accept:
        raise CommandError(command, done.returncode, done.stdout, done.stderr)
    return Result(done.stdout, done.stderr)


def run_watched(
    argv: Sequence[str], watch: Callable[[], None], *, every: float = 0.2, timeout: float = DEFAULT_TIMEOUT
) -> None:
    """Run a program that takes long, calling `watch` every so many seconds; what that raises ends it.

    Raises CommandError when it fails, is missing, or takes over `timeout` s.
    """
    command, deadline = tuple(argv), time.monotonic() + timeout
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except FileNotFoundError:
        raise CommandError(command, 127, "", "not installed, or not on PATH") from None
    with process:
        try:
            while True:
                try:
                    stdout, stderr = process.communicate(timeout=every)
                    break
                except subprocess.TimeoutExpired as late:
                    if time.monotonic() > deadline:
                        raise CommandError(command, None, _text(late.stdout), _text(late.stderr)) from None
                    watch()
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise CommandError(command, process.returncode, _text(stdout), _text(stderr))


def _text(raw: bytes | str | None) -> str:
    return raw.decode(errors="replace") if isinstance(raw, bytes) else raw or ""
