"""What every implementation of `Daemons` promises, without a test framework.

`test_daemons.py` runs it where the tests run. The same file runs inside a system VM, where systemd is
init and nothing but the runtime is installed: `python3 daemons_contract.py` ends with 0 if all holds.
"""

import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from systemvm.engine.daemons import Daemon, Daemons
from systemvm.engine.errors import CommandError
from systemvm.engine.testing import RecordedDaemons

#: Writes down what happens to it; ignores SIGTERM when told to.
PROGRAM = """
import os, signal, sys, time
marks = open(sys.argv[1], "a", buffering=1)
signal.signal(signal.SIGHUP, lambda *_: marks.write("reloaded\\n"))
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
marks.write(f"started {os.environ.get('COLOUR', '')} {os.getuid()}\\n")
print("up", flush=True)
while True:
    time.sleep(60)
"""
VERDICT = "promises kept:"
REFUSAL = "line 3: what is this?"


class DaemonsContract:
    """One daemon under test, in `folder`; each method is one promise and raises AssertionError."""

    def __init__(self, daemons: Daemons, folder: Path) -> None:
        self.daemons = daemons
        self.is_real = not isinstance(daemons, RecordedDaemons)
        self.marks = folder / "marks"
        self.marks.touch()
        self.marks.chmod(0o666)
        program = folder / "program.py"
        program.write_text(PROGRAM)
        self.daemon = Daemon(
            name=f"contract-{uuid4().hex[:8]}",
            argv=(sys.executable, str(program), str(self.marks)),
            reload=("kill", "-HUP", "{pid}"),
            environment={"COLOUR": "green"},
        )

    def close(self) -> None:
        """End the daemon."""
        self.daemons.stop(self.daemon.name)

    def wait_for_mark(self, text: str) -> None:
        """Until the real program has written it down."""
        if self.is_real:
            eventually(lambda: text in self.marks.read_text(), f"mark {text!r}")

    def refusal_of(self, daemon: Daemon) -> CommandError:
        """The error with which a daemon does not start."""
        try:
            self.daemons.ensure(daemon)
        except CommandError as error:
            return error
        raise AssertionError(f"{daemon.argv} was taken for started")

    def ensure_starts_once(self) -> None:
        assert not self.daemons.is_running(self.daemon.name)
        assert self.daemons.pid(self.daemon.name) is None
        assert self.daemons.ensure(self.daemon) is True
        first = self.daemons.pid(self.daemon.name)
        assert first is not None
        assert self.daemons.is_running(self.daemon.name)
        assert self.daemons.ensure(self.daemon) is False
        assert self.daemons.pid(self.daemon.name) == first

    def changed_description_restarts(self) -> None:
        self.daemons.ensure(self.daemon)
        first = self.daemons.pid(self.daemon.name)
        assert self.daemons.ensure(replace(self.daemon, environment={"COLOUR": "red"})) is True
        assert self.daemons.pid(self.daemon.name) not in (None, first)
        self.wait_for_mark("started red")

    def stop_is_idempotent(self) -> None:
        self.daemons.stop(self.daemon.name)
        self.daemons.ensure(self.daemon)
        self.daemons.stop(self.daemon.name)
        self.daemons.stop(self.daemon.name)
        assert not self.daemons.is_running(self.daemon.name)
        assert self.daemons.pid(self.daemon.name) is None
        assert self.daemons.ensure(self.daemon) is True

    def reload_keeps_the_process(self) -> None:
        self.daemons.ensure(self.daemon)
        first = self.daemons.pid(self.daemon.name)
        self.wait_for_mark("started")
        self.daemons.reload(self.daemon)
        assert self.daemons.pid(self.daemon.name) == first
        self.wait_for_mark("reloaded")

    def reload_starts_what_does_not_run(self) -> None:
        self.daemons.reload(self.daemon)
        assert self.daemons.is_running(self.daemon.name)

    def reload_without_argv_restarts(self) -> None:
        plain = replace(self.daemon, reload=())
        self.daemons.ensure(plain)
        first = self.daemons.pid(plain.name)
        self.daemons.reload(plain)
        assert self.daemons.pid(plain.name) not in (None, first)

    def dying_at_once_is_an_error_in_its_words(self) -> None:
        if isinstance(self.daemons, RecordedDaemons):
            self.daemons.refusals[self.daemon.name] = REFUSAL
        dying = replace(self.daemon, argv=(sys.executable, "-c", f"import sys; sys.exit({REFUSAL!r})"))
        error = self.refusal_of(dying)
        assert REFUSAL in str(error), str(error)
        assert error.returncode == 1, error.returncode
        assert not self.daemons.is_running(self.daemon.name)

    def missing_program_is_an_error(self) -> None:
        if isinstance(self.daemons, RecordedDaemons):
            self.daemons.refusals[self.daemon.name] = "not installed"
        self.refusal_of(replace(self.daemon, argv=("/nonexistent/daemon",)))
        assert not self.daemons.is_running(self.daemon.name)

    def environment_and_user_are_as_described(self) -> None:
        for folder in self.marks.parents:
            if str(folder).startswith("/tmp/"):  # temporary folders are closed to other users
                folder.chmod(0o755)
        self.daemons.ensure(replace(self.daemon, user="nobody" if os.getuid() == 0 else ""))
        self.wait_for_mark(f"started green {65534 if os.getuid() == 0 else os.getuid()}")
        assert self.daemons.is_running(self.daemon.name)

    def logs_are_what_it_printed(self) -> None:
        assert self.daemons.logs(self.daemon.name, 5) == []
        if isinstance(self.daemons, RecordedDaemons):
            self.daemons.printed[self.daemon.name] = ["first", "up"]
        self.daemons.ensure(self.daemon)
        eventually(lambda: self.daemons.logs(self.daemon.name, 1) == ["up"], "its line in the log")


PROMISES: tuple[Callable[[DaemonsContract], None], ...] = (
    DaemonsContract.ensure_starts_once,
    DaemonsContract.changed_description_restarts,
    DaemonsContract.stop_is_idempotent,
    DaemonsContract.reload_keeps_the_process,
    DaemonsContract.reload_starts_what_does_not_run,
    DaemonsContract.reload_without_argv_restarts,
    DaemonsContract.dying_at_once_is_an_error_in_its_words,
    DaemonsContract.missing_program_is_an_error,
    DaemonsContract.environment_and_user_are_as_described,
    DaemonsContract.logs_are_what_it_printed,
)


def eventually(question: Callable[[], bool], what: str, seconds: float = 15.0) -> None:
    """Ask until it is true; AssertionError naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.02)


def main() -> int:
    """Hold systemd to the contract; one line per promise, then VERDICT, 1 if any is broken."""
    from systemvm.engine.systemd import Systemd

    broken = 0
    for promise in PROMISES:
        with tempfile.TemporaryDirectory() as folder:
            try:
                # The end belongs to it: a daemon that cannot be stopped is no reason to say nothing.
                with closing(DaemonsContract(Systemd(), Path(folder))) as contract:
                    promise(contract)
                print(f"ok {promise.__name__}", flush=True)
            except Exception:
                broken += 1
                print(f"BROKEN {promise.__name__}\n{traceback.format_exc()}", flush=True)
    print(f"{VERDICT} {len(PROMISES) - broken} of {len(PROMISES)}", flush=True)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
