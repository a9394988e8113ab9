"""After a crash or a reboot the last good generation is back, without being told."""

from collections.abc import Callable
from pathlib import Path

import pytest

from systemvm.engine.apply import Engine
from systemvm.engine.outcome import Result
from systemvm.engine.service import Doors, Rendering
from systemvm.engine.sqlite import SharedDatabase
from systemvm.engine.testing import RecordedDaemons
from tests.unit.systemvm.engine.tiny import TinyServices, document

pytestmark = pytest.mark.unit

DNS = {"upstream": ["9.9.9.9"]}
OTHER_DNS = {"upstream": ["8.8.8.8"]}


class Killed(BaseException):
    """The process is gone: nothing of the engine runs any more."""


def reboot(daemons: RecordedDaemons) -> None:
    for name in list(daemons.running):
        daemons.stop(name)
    daemons.calls.clear()


def crash_in(service: str, services: TinyServices, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(new: Rendering, old: Rendering, doors: Doors) -> None:
        raise Killed

    monkeypatch.setattr("systemvm.engine.change.Change.close", lambda self: None)
    object.__setattr__(services.tiny[service].service, "apply", die)


def test_nothing_to_recover(new_engine: Callable[..., Engine]) -> None:
    engine = new_engine()
    assert engine.recover() is None
    assert engine.applied is None
    health = engine.health()
    assert (health.healthy, health.applied, health.message) == (True, None, "waits for its first document")


def test_after_a_reboot(new_engine: Callable[..., Engine], daemons: RecordedDaemons, tmp_path: Path) -> None:
    first = new_engine()
    first.recover()
    first.apply(document(3, dnsmasq=DNS))
    reboot(daemons)
    engine = new_engine()
    outcome = engine.recover()
    assert outcome is not None
    assert (outcome.generation, outcome.result) == (3, Result.recovered)
    assert set(daemons.running) == {"interfaces", "dnsmasq"}
    assert engine.health().healthy
    assert engine.apply(document(4, dnsmasq=DNS)).result is Result.unchanged


def test_after_a_crash_in_the_middle(
    new_engine: Callable[..., Engine],
    services: TinyServices,
    daemons: RecordedDaemons,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Generation 4 changes dnsmasq and adds nftables; it dies while haproxy is applied."""
    first = new_engine()
    first.recover()
    first.apply(document(3, dnsmasq=DNS))
    untouched = services.tiny["haproxy"].service.apply
    with monkeypatch.context() as patch:
        crash_in("haproxy", services, patch)
        with pytest.raises(Killed):
            first.apply(document(4, dnsmasq=OTHER_DNS, nftables={}, haproxy={}))
    object.__setattr__(services.tiny["haproxy"].service, "apply", untouched)
    assert "8.8.8.8" in (tmp_path / "etc/pileus/dnsmasq.conf").read_text()
    assert (tmp_path / "etc/pileus/haproxy.conf").exists()

    engine = new_engine()
    outcome = engine.recover()
    assert outcome is not None
    assert outcome.generation == 3
    assert "9.9.9.9" in (tmp_path / "etc/pileus/dnsmasq.conf").read_text()
    # What only the cut generation had is gone, hidden leftovers included.
    assert {path.name for path in (tmp_path / "etc/pileus").iterdir()} == {"dnsmasq.conf", "interfaces.conf"}
    assert set(daemons.running) == {"interfaces", "dnsmasq"}
    assert not (tmp_path / "run/pileus/stage").exists() or not any((tmp_path / "run/pileus/stage").iterdir())
    cut = next(row for row in engine.kept() if row.generation == 4)
    assert (cut.progress.value, cut.error) == ("failed", "cut by a crash while it was being applied")
    assert engine.apply(document(4, dnsmasq=OTHER_DNS, nftables={}, haproxy={})).result is Result.applied


def test_after_a_crash_of_the_first_document(
    new_engine: Callable[..., Engine],
    services: TinyServices,
    daemons: RecordedDaemons,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = new_engine()
    first.recover()
    with monkeypatch.context() as patch:
        untouched = services.tiny["dnsmasq"].service.apply
        crash_in("dnsmasq", services, patch)
        with pytest.raises(Killed):
            first.apply(document(1, dnsmasq=DNS))
    object.__setattr__(services.tiny["dnsmasq"].service, "apply", untouched)
    engine = new_engine()
    assert engine.recover() is None
    assert list((tmp_path / "etc/pileus").iterdir()) == []
    assert daemons.running == {}
    assert engine.applied is None


def test_one_service_that_cannot_come_up_does_not_stop_the_others(
    new_engine: Callable[..., Engine], services: TinyServices, daemons: RecordedDaemons
) -> None:
    first = new_engine()
    first.recover()
    first.apply(document(1, dnsmasq=DNS, haproxy={}))
    reboot(daemons)
    services.tiny["dnsmasq"].refuse_apply = "9.9.9.9"
    engine = new_engine()
    outcome = engine.recover()
    assert outcome is not None
    assert [problem.path for problem in outcome.problems] == ["dnsmasq"]
    assert set(daemons.running) == {"interfaces", "haproxy"}
    assert engine.is_dirty
    assert not engine.health().healthy
    services.tiny["dnsmasq"].refuse_apply = ""
    again = engine.recover()
    assert again is not None
    assert again.problems == ()
    assert engine.health().healthy


def test_a_corrupt_record_is_put_aside(new_engine: Callable[..., Engine], doors: Doors) -> None:
    doors.state_dir.mkdir(parents=True)
    (doors.state_dir / "agent.db").write_bytes(b"this is no database, it is a poem" * 100)
    engine = new_engine()
    assert engine.recover() is None
    assert (doors.state_dir / "agent.db.corrupt").exists()
    assert engine.apply(document(1, dnsmasq=DNS)).result is Result.applied


def test_a_commit_survives_a_reset(tmp_path: Path) -> None:
    """The mode itself: that a reset right after a commit loses nothing is seen in the cloud ring."""
    database = SharedDatabase(tmp_path / "agent.db")
    with database.writing() as opened:
        mode = {
            name: opened.execute(f"pragma {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
        }
    assert mode == {"journal_mode": "delete", "synchronous": 3}
    database.close()
