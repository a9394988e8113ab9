"""Daemons as plain processes: where there is no systemd (tests in a namespace, DevCloud in a container).

Each daemon runs detached in its own session and survives its caller. `<folder>/<name>.json` records its
process and its description, `<folder>/<name>.log` what it prints. A recorded process is believed only
if its start time still matches, so that a recycled process id is never signalled. A daemon that dies keeps
its record, by which the next `ensure`, or somebody who asks `dead` and `revive`, starts it again.
"""

import contextlib
import fcntl
import json
import os
import pwd
import signal
import subprocess
import time
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from systemvm.engine.command import run
from systemvm.engine.daemons import Daemon, resolve_pid
from systemvm.engine.errors import CommandError
from systemvm.engine.files import write_atomic
from systemvm.engine.settling import start_ticks, wait_until_settled

#: Seconds that a daemon gets to end after SIGTERM.
GRACE = 10.0
_POLL = 0.02

# Kept so that children of this very process are reaped; of others' children init takes care.
_children: dict[int, subprocess.Popen[bytes]] = {}


class Processes:
    """Implements `Daemons` in `folder`."""

    def __init__(self, folder: Path, *, grace: float = GRACE) -> None:
        self._folder = folder
        self._grace = grace

    def ensure(self, daemon: Daemon) -> bool:
        """See Daemons. Raises CommandError, with its last words, when it dies at once."""
        with self._alone():
            record = self._record(daemon.name)
            if record and record["daemon"] == _describe(daemon) and self.is_running(daemon.name):
                return False
            self._stop(daemon.name)
            self._start(daemon)
            return True

    def dead(self) -> list[str]:
        """Names of the daemons that died without being stopped."""
        names = sorted(path.stem for path in self._folder.glob("*.json"))
        return [name for name in names if not self.is_running(name)]

    def revive(self, name: str) -> bool:
        """Start a daemon that died as it was started last; False if it runs or was stopped meanwhile.

        Raises CommandError when it dies at once.
        """
        with self._alone():
            record = self._record(name)
            if record is None or self.is_running(name):
                return False
            described = record["daemon"]
            words = {key: tuple(described[key]) for key in ("argv", "reload")}
            self._start(Daemon(**{**described, **words}))
            return True

    def reload(self, daemon: Daemon) -> None:
        """See Daemons."""
        if self.ensure(daemon):
            return
        pid = self.pid(daemon.name)
        if daemon.reload and pid is not None:
            run(resolve_pid(daemon.reload, pid))
            return
        with self._alone():
            self._stop(daemon.name)
            self._start(daemon)

    def stop(self, name: str) -> None:
        """See Daemons: SIGTERM, then SIGKILL to its whole session's group after the grace."""
        with self._alone():
            self._stop(name)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Of several processes that start and stop daemons here, one at a time does."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _stop(self, name: str) -> None:
        pid = self.pid(name)
        if pid is not None:
            _signal(pid, signal.SIGTERM)
            deadline = time.monotonic() + self._grace
            while self.is_running(name) and time.monotonic() < deadline:
                time.sleep(_POLL)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            while self.is_running(name):
                time.sleep(_POLL)
        self._path(name, "json").unlink(missing_ok=True)

    def is_running(self, name: str) -> bool:
        """See Daemons."""
        return self.pid(name) is not None

    def pid(self, name: str) -> int | None:
        """See Daemons."""
        record = self._record(name)
        if record is None:
            return None
        pid = int(record["pid"])
        _reap(pid)
        # One that died before it was recorded has no start time, and neither has a process that is gone.
        started = record["started"]
        return pid if started is not None and start_ticks(pid) == started else None

    def logs(self, name: str, lines: int) -> list[str]:
        """See Daemons."""
        try:
            with self._path(name, "log").open(errors="replace") as file:
                return [line.rstrip("\n") for line in deque(file, maxlen=max(lines, 0))]
        except FileNotFoundError:
            return []

    def _start(self, daemon: Daemon) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._path(daemon.name, "log").open("ab") as log:
            child = _spawn(daemon, log.fileno())
        _children[child.pid] = child
        record = {"pid": child.pid, "started": start_ticks(child.pid), "daemon": _describe(daemon)}
        write_atomic(self._path(daemon.name, "json"), json.dumps(record).encode(), mode=0o600)
        if not wait_until_settled(child.pid):
            _children.pop(child.pid, None)
            said = "\n".join(self.logs(daemon.name, 20))
            raise CommandError(daemon.argv, child.wait(), "", said)

    def _record(self, name: str) -> dict[str, Any] | None:
        try:
            record: dict[str, Any] = json.loads(self._path(name, "json").read_bytes())
        except FileNotFoundError:
            return None
        return record

    def _path(self, name: str, suffix: str) -> Path:
        return self._folder / f"{name}.{suffix}"


def _spawn(daemon: Daemon, log: int) -> subprocess.Popen[bytes]:
    """Start it in a session of its own. Raises CommandError when the program or its user is missing."""
    switch: dict[str, Any] = {}
    if daemon.user:
        switch = {"user": daemon.user, "group": _primary_group(daemon), "extra_groups": []}
    try:
        return subprocess.Popen(
            daemon.argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, **daemon.environment},
            **switch,
        )
    except FileNotFoundError:
        raise CommandError(daemon.argv, 127, "", "not installed, or not on PATH") from None


def _primary_group(daemon: Daemon) -> int:
    try:
        return pwd.getpwnam(daemon.user).pw_gid
    except KeyError:
        raise CommandError(daemon.argv, None, "", f"there is no user {daemon.user!r}") from None


def _describe(daemon: Daemon) -> dict[str, Any]:
    """As it reads back from JSON, so that descriptions compare."""
    described: dict[str, Any] = json.loads(json.dumps(asdict(daemon)))
    return described


def collect(killed: Collection[int]) -> None:
    """Wait for those of the processes `killed` that this very process started; they leave no zombie.

    Neither do those that died before and that nobody has asked for since.
    """
    for pid in killed:
        if child := _children.pop(pid, None):
            child.wait()
    for pid in tuple(_children):
        _reap(pid)


def _reap(pid: int) -> None:
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        _children.pop(pid, None)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
