"""Every implementation of `Daemons` keeps the same promises (`daemons_contract.py`).

Processes and the recording are held to them here; systemd's implementation where systemd is init: the
image ring runs the contract in a system VM.
"""

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from systemvm.engine import systemd
from systemvm.engine.daemons import Daemon, Daemons
from systemvm.engine.errors import CommandError
from systemvm.engine.processes import Processes
from systemvm.engine.systemd import Systemd
from systemvm.engine.testing import RecordedDaemons
from tests.contract.daemons_contract import PROMISES, DaemonsContract

pytestmark = pytest.mark.contract

KINDS = ("recorded", "processes", *(("systemd",) if systemd.is_present() else ()))


@pytest.fixture(params=KINDS)
def contract(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DaemonsContract]:
    made: dict[str, Daemons] = {
        "recorded": RecordedDaemons(),
        "processes": Processes(tmp_path / "daemons", grace=0.5),
        "systemd": Systemd(),
    }
    held = DaemonsContract(made[request.param], tmp_path)
    yield held
    held.close()


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_promise(contract: DaemonsContract, promise: Callable[[DaemonsContract], None]) -> None:
    promise(contract)


def test_the_contract_is_whole() -> None:
    helpers = {"close", "wait_for_mark", "refusal_of"}
    methods = {name for name in vars(DaemonsContract) if not name.startswith("_")} - helpers
    assert {promise.__name__ for promise in PROMISES} == methods


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "daemons"


@pytest.fixture
def held(folder: Path, tmp_path: Path) -> Iterator[DaemonsContract]:
    made = DaemonsContract(Processes(folder, grace=0.2), tmp_path)
    yield made
    made.close()


def test_processes_name_what_is_missing(folder: Path) -> None:
    with pytest.raises(CommandError, match="not installed"):
        Processes(folder).ensure(Daemon(name="ghost", argv=("/nonexistent/daemon",)))
    with pytest.raises(CommandError, match="no user 'nobody-at-all'"):
        Processes(folder).ensure(Daemon(name="ghost", argv=("sleep", "9"), user="nobody-at-all"))


def test_processes_survive_their_caller(folder: Path, held: DaemonsContract) -> None:
    """A second instance, as after a restart of the agent, finds the daemon and can stop it."""
    assert held.daemons.ensure(held.daemon)
    again = Processes(folder)
    assert again.ensure(held.daemon) is False
    again.stop(held.daemon.name)
    assert held.daemons.pid(held.daemon.name) is None


def test_processes_kill_the_stubborn(held: DaemonsContract) -> None:
    stubborn = replace(held.daemon, argv=(*held.daemon.argv, "stubborn"))
    held.daemons.ensure(stubborn)
    held.wait_for_mark("started")
    held.daemons.stop(stubborn.name)
    assert held.daemons.pid(stubborn.name) is None


def test_processes_never_signal_a_recycled_pid(folder: Path) -> None:
    """The record names this very test's process, with another start time."""
    folder.mkdir()
    (folder / "ghost.json").write_text(f'{{"pid": {os.getpid()}, "started": 1, "daemon": {{}}}}')
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        Processes(folder).stop("ghost")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == []
    assert Processes(folder).pid("ghost") is None
