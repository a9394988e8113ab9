"""What dies is started again by the keeper, what was stopped is not; real processes."""

import os
import signal
import sys
from pathlib import Path

import pytest

from appliance.launcher.keeper import FIRST_PAUSE, Keeper
from systemvm.engine.daemons import Daemon
from systemvm.engine.processes import Processes

pytestmark = pytest.mark.contract

SLEEPS = "import time; time.sleep(600)"


class Kept:
    """One daemon, and a keeper whose clock stands still."""

    def __init__(self, folder: Path) -> None:
        self.processes = Processes(folder, grace=0.5)
        self.now = 1000.0
        self.keeper = Keeper(self.processes, lambda: self.now)

    def start(self, code: str = SLEEPS) -> int:
        self.processes.ensure(Daemon(name="one", argv=(sys.executable, "-c", code)))
        return self.pid()

    def pid(self) -> int:
        pid = self.processes.pid("one")
        assert pid is not None
        return pid

    def kill(self) -> None:
        pid = self.pid()
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


@pytest.fixture
def kept(tmp_path: Path) -> object:
    made = Kept(tmp_path)
    yield made
    made.processes.stop("one")


def test_what_dies_is_started_again_as_it_was(kept: Kept) -> None:
    first = kept.start()
    assert kept.keeper.look() == []
    kept.kill()
    assert kept.keeper.look() == ["one"]
    assert kept.pid() != first
    assert kept.keeper.look() == []
    daemon = Daemon(name="one", argv=(sys.executable, "-c", SLEEPS))
    assert kept.processes.ensure(daemon) is False, "it has the same description"


def test_what_was_stopped_stays_stopped(kept: Kept) -> None:
    kept.start()
    kept.processes.stop("one")
    assert kept.keeper.look() == []
    assert not kept.processes.is_running("one")


def test_what_dies_again_and_again_is_started_ever_more_seldom(kept: Kept) -> None:
    kept.start()
    started = []
    for _ in range(8):
        kept.kill()
        before = kept.now
        while kept.keeper.look() == []:
            kept.now += FIRST_PAUSE
        started.append(kept.now - before)
    assert started[:5] == [0, 1, 2, 4, 8]
    assert started[-1] > started[-2] > 8
