"""The one door to subprocesses: argv lists, a timeout, a typed error with the program's own words."""

import subprocess
from collections.abc import Sequence
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


def _text(raw: bytes | str | None) -> str:
    return raw.decode(errors="replace") if isinstance(raw, bytes) else raw or ""
