"""One document in: the machine is so, or as it was before."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from systemvm.engine.apply import Engine
from systemvm.engine.errors import ApplyFailed, Busy, CommandError, InvalidDocument, StaleGeneration
from systemvm.engine.outcome import Result
from systemvm.engine.service import Doors, Rendering
from systemvm.engine.testing import RecordedDaemons, RecordedRunner
from systemvm.spec.bootstrap import Bootstrap, BootstrapNic
from systemvm.spec.network import Dnsmasq
from systemvm.spec.types import ProbeResult, Problem, Purpose, Role
from tests.unit.systemvm.engine.tiny import MACHINE, TinyServices, document

pytestmark = pytest.mark.unit

DNS = {"upstream": ["9.9.9.9"]}
OTHER_DNS = {"upstream": ["8.8.8.8"]}


def conf(root: Path, name: str) -> Path:
    return root / f"etc/pileus/{name}.conf"


def tree(root: Path) -> dict[str, str]:
    """Every file under /etc, hidden ones too."""
    return {
        str(path.relative_to(root)): path.read_text() for path in (root / "etc").rglob("*") if path.is_file()
    }


def test_first_document(
    engine: Engine, services: TinyServices, daemons: RecordedDaemons, tmp_path: Path
) -> None:
    outcome = engine.apply(document(1, dnsmasq=DNS, haproxy={}, nftables={}))
    assert outcome.result is Result.applied
    assert outcome.services == ("interfaces", "nftables", "dnsmasq", "haproxy") or outcome.services.index(
        "interfaces"
    ) < outcome.services.index("nftables") < outcome.services.index("haproxy")
    assert set(daemons.running) == {"interfaces", "nftables", "dnsmasq", "haproxy"}
    assert '"9.9.9.9"' in conf(tmp_path, "dnsmasq").read_text()
    assert conf(tmp_path, "dnsmasq").stat().st_mode & 0o777 == 0o640
    assert {result.service for result in outcome.probes} == set(outcome.services)
    assert not (tmp_path / "run/pileus/stage/1").exists()
    assert (tmp_path / "var/lib/pileus/agent.db").stat().st_mode & 0o777 == 0o600


def test_services_that_are_not_asked_for_are_not_even_imported(
    engine: Engine, services: TinyServices
) -> None:
    engine.apply(document(1, dnsmasq=DNS))
    assert services.loaded == {"interfaces", "dnsmasq"}


def test_only_what_changed_is_touched(
    engine: Engine, services: TinyServices, daemons: RecordedDaemons
) -> None:
    engine.apply(document(1, dnsmasq=DNS, haproxy={}))
    daemons.calls.clear()
    outcome = engine.apply(document(2, dnsmasq=OTHER_DNS, haproxy={}))
    assert outcome.services == ("dnsmasq",)
    assert daemons.calls == [("reload", "dnsmasq")]
    assert [result.service for result in outcome.probes] == ["dnsmasq"]


def test_what_depends_on_a_change_is_probed_too(engine: Engine) -> None:
    engine.apply(document(1, nftables={}, dnsmasq=DNS, haproxy={}))
    rule = {"network": "10.1.1.0/24", "interface": "eth1", "public": "192.0.2.9"}
    outcome = engine.apply(document(2, nftables={"source_nat": [rule]}, dnsmasq=DNS, haproxy={}))
    assert outcome.services == ("nftables",)
    assert {result.service for result in outcome.probes} == {"nftables", "haproxy"}


def test_identical_renderings_are_unchanged_but_recorded(engine: Engine, daemons: RecordedDaemons) -> None:
    engine.apply(document(1, dnsmasq=DNS))
    daemons.calls.clear()
    outcome = engine.apply(document(2, dnsmasq=DNS))
    assert (outcome.result, outcome.services, outcome.generation) == (Result.unchanged, (), 2)
    assert daemons.calls == []
    assert engine.applied is not None
    assert engine.applied.state.generation == 2
    assert [row.generation for row in engine.kept()] == [2, 1]


def test_drift_is_repaired_by_the_same_document(
    engine: Engine, daemons: RecordedDaemons, tmp_path: Path
) -> None:
    engine.apply(document(1, dnsmasq=DNS))
    good = conf(tmp_path, "dnsmasq").read_text()
    conf(tmp_path, "dnsmasq").write_text("edited by hand")
    assert engine.apply(document(1, dnsmasq=DNS)).services == ("dnsmasq",)
    assert conf(tmp_path, "dnsmasq").read_text() == good
    daemons.stop("dnsmasq")
    assert engine.apply(document(1, dnsmasq=DNS)).services == ("dnsmasq",)
    assert daemons.is_running("dnsmasq")


def test_force_touches_all(engine: Engine) -> None:
    engine.apply(document(1, dnsmasq=DNS))
    assert engine.apply(document(1, dnsmasq=DNS), force=True).services == ("interfaces", "dnsmasq")


def test_absent_means_remove(
    engine: Engine, services: TinyServices, daemons: RecordedDaemons, tmp_path: Path
) -> None:
    engine.apply(document(1, dnsmasq=DNS))
    outcome = engine.apply(document(2))
    assert outcome.services == ("dnsmasq",)
    assert not conf(tmp_path, "dnsmasq").exists()
    assert not daemons.is_running("dnsmasq")
    assert services.tiny["dnsmasq"].applied[-1][0] == Rendering()
    assert engine.apply(document(3)).result is Result.unchanged


def test_all_problems_of_all_services_at_once(engine: Engine, services: TinyServices, tmp_path: Path) -> None:
    services.tiny["dnsmasq"].problems = [
        Problem(path=f"dnsmasq.hosts[{n}]", message="twice") for n in range(6)
    ]
    services.tiny["haproxy"].problems = [
        Problem(path=f"haproxy.balancers[{n}]", message="twice") for n in range(4)
    ]
    with pytest.raises(InvalidDocument) as caught:
        engine.apply(document(1, dnsmasq=DNS, haproxy={}))
    assert len(caught.value.problems) == 10
    assert not (tmp_path / "etc").exists()
    assert engine.kept() == ()


def test_type_mistakes_at_once(engine: Engine) -> None:
    with pytest.raises(InvalidDocument) as caught:
        engine.apply(document(0, dnsmasq={"upstream": ["x", "y"]}, zork=1))
    assert {problem.path for problem in caught.value.problems} == {
        "generation",
        "dnsmasq.upstream[0]",
        "dnsmasq.upstream[1]",
        "zork",
    }


def test_a_section_without_a_service(engine: Engine) -> None:
    with pytest.raises(InvalidDocument, match="keepalived: this machine has no service keepalived"):
        engine.apply(document(1, keepalived={}))


def test_stale(engine: Engine) -> None:
    engine.apply(document(5, dnsmasq=DNS))
    with pytest.raises(StaleGeneration, match="generation 4 is older than 5"):
        engine.apply(document(4, dnsmasq=DNS))
    with pytest.raises(StaleGeneration, match="5 is applied with other content"):
        engine.apply(document(5, dnsmasq=OTHER_DNS))
    assert engine.apply(document(5, dnsmasq=DNS)).result is Result.unchanged


def test_native_checkers_all_speak_and_nothing_changes(
    engine: Engine, runner: RecordedRunner, daemons: RecordedDaemons, tmp_path: Path
) -> None:
    engine.apply(document(1, dnsmasq=DNS, haproxy={}))
    before = tree(tmp_path)
    daemons.calls.clear()
    runner.answers[("dnsmasq-check",)] = CommandError(("dnsmasq-check",), 1, "", "bad option at line 3")
    runner.answers[("haproxy-check",)] = CommandError(("haproxy-check",), 1, "", "unknown keyword 'zork'")
    balancer = {"id": MACHINE, "address": "192.0.2.1", "port": 80}
    with pytest.raises(ApplyFailed, match=r"bad option at line 3.*generation 1 is back") as caught:
        engine.apply(document(2, dnsmasq=OTHER_DNS, haproxy={"balancers": [balancer]}))
    assert {problem.path for problem in caught.value.problems} == {"dnsmasq", "haproxy"}
    assert "unknown keyword 'zork'" in str(caught.value)
    assert tree(tmp_path) == before
    assert daemons.calls == []
    staged = next(call for call in runner.calls if call[0] == "dnsmasq-check" and "stage/2/" in call[1])
    assert staged[1].endswith("/run/pileus/stage/2/etc/pileus/dnsmasq.conf")
    refused = tmp_path / "run/pileus/refused/2/etc/pileus/dnsmasq.conf"
    assert "8.8.8.8" in refused.read_text()
    assert [(row.generation, row.progress.value) for row in engine.kept()] == [(2, "failed"), (1, "applied")]


def test_a_failing_apply_is_undone(
    engine: Engine, services: TinyServices, daemons: RecordedDaemons, tmp_path: Path
) -> None:
    engine.apply(document(1, dnsmasq=DNS, nftables={}))
    before = tree(tmp_path)
    services.tiny["dnsmasq"].refuse_apply = "8.8.8.8"
    rule = {"network": "10.1.1.0/24", "interface": "eth1", "public": "192.0.2.9"}
    with pytest.raises(
        ApplyFailed, match=r"generation 2 is refused: dnsmasq: .*cannot read 8.8.8.8; generation 1 is"
    ):
        engine.apply(document(2, dnsmasq=OTHER_DNS, nftables={"source_nat": [rule]}, haproxy={}))
    assert tree(tmp_path) == before
    assert set(daemons.running) == {"interfaces", "dnsmasq", "nftables"}
    assert services.tiny["dnsmasq"].applied[-1][0].files[0].text == conf(tmp_path, "dnsmasq").read_text()
    assert engine.applied is not None
    assert engine.applied.state.dnsmasq == Dnsmasq(upstream=("9.9.9.9",))
    assert engine.health().healthy


def test_a_failed_generation_may_be_sent_again(engine: Engine, services: TinyServices) -> None:
    services.tiny["dnsmasq"].refuse_apply = "8.8.8.8"
    with pytest.raises(ApplyFailed, match="the empty machine is back"):
        engine.apply(document(1, dnsmasq=OTHER_DNS))
    services.tiny["dnsmasq"].refuse_apply = ""
    assert engine.apply(document(1, dnsmasq=OTHER_DNS)).result is Result.applied
    assert [row.progress.value for row in engine.kept()] == ["applied"]


def test_a_probe_that_comes_right_in_time_is_fine(engine: Engine, services: TinyServices) -> None:
    services.tiny["dnsmasq"].unhealthy = ["no lease yet"]
    assert engine.apply(document(1, dnsmasq=DNS)).result is Result.applied
    assert services.tiny["dnsmasq"].probed == 2


def test_a_probe_that_stays_unhealthy_undoes(engine: Engine, services: TinyServices, tmp_path: Path) -> None:
    engine.apply(document(1, dnsmasq=DNS))
    before = tree(tmp_path)
    services.tiny["dnsmasq"].unhealthy = ["no answer to a query for r-1"] * 50
    with pytest.raises(
        ApplyFailed, match="dnsmasq: works: no answer to a query for r-1; generation 1 is back"
    ):
        engine.apply(document(2, dnsmasq=OTHER_DNS))
    assert tree(tmp_path) == before


def test_a_daemon_that_died_is_unhealthy_in_its_last_words(
    engine: Engine, services: TinyServices, daemons: RecordedDaemons
) -> None:
    engine.apply(document(1, dnsmasq=DNS))
    daemons.stop("dnsmasq")
    daemons.printed["dnsmasq"] = ["out of sockets"]
    health = engine.health(max_age=0)
    assert not health.healthy
    assert "does not run; its last words: out of sockets" in health.message
    assert health.applied == 1


def test_rollback_that_fails_says_so_and_is_repaired_later(
    engine: Engine, services: TinyServices, daemons: RecordedDaemons
) -> None:
    engine.apply(document(1, dnsmasq=DNS))
    services.tiny["dnsmasq"].refuse_apply = "upstream"  # refuses every document
    with pytest.raises(ApplyFailed, match=r"generation 1 could not be brought back: dnsmasq: .*cannot read"):
        engine.apply(document(2, dnsmasq=OTHER_DNS))
    assert not engine.health().healthy
    assert engine.is_dirty
    services.tiny["dnsmasq"].refuse_apply = ""
    assert engine.apply(document(3, dnsmasq=DNS)).services == ("dnsmasq",)
    assert engine.health().healthy


def test_busy_names_the_running_generation(engine: Engine, services: TinyServices, doors: Doors) -> None:
    inside, leave = threading.Event(), threading.Event()
    tiny = services.tiny["dnsmasq"]
    original = tiny.service.apply

    def slow(new: Rendering, old: Rendering, doors: Doors) -> None:
        inside.set()
        assert leave.wait(10)
        original(new, old, doors)

    object.__setattr__(tiny.service, "apply", slow)
    thread = threading.Thread(target=engine.apply, args=(document(7, dnsmasq=DNS),))
    thread.start()
    try:
        assert inside.wait(10)
        with pytest.raises(Busy, match="generation 7 is being applied"):
            engine.apply(document(8, dnsmasq=DNS))
        assert engine.health().activity.value == "applying"
    finally:
        leave.set()
        thread.join()
    assert engine.apply(document(8, dnsmasq=DNS)).result is Result.unchanged


def test_nothing_is_applied_before_recovery(new_engine: Callable[..., Engine]) -> None:
    engine = new_engine()
    with pytest.raises(Busy, match="being recovered"):
        engine.apply(document(1))
    assert engine.health().activity.value == "recovering"
    engine.recover()
    engine.apply(document(1))


def bootstrap() -> Bootstrap:
    return Bootstrap(
        machine=MACHINE,
        name="r-1-VM",
        role=Role.router,
        nics=(BootstrapNic(mac="0e:00:a9:fe:01:02", name="link0", purpose=Purpose.linklocal),),
        linklocal_address="169.254.1.2/16",
        certificate="",
        key="",
        client_ca="",
    )


def test_a_document_that_touches_the_control_channel_is_refused(new_engine: Callable[..., Engine]) -> None:
    engine = new_engine(bootstrap=bootstrap())
    engine.recover()
    nic = {"purpose": "guest", "addresses": ["10.1.1.1/24"]}
    interfaces: dict[str, Any] = {
        "nics": [
            {**nic, "mac": "0e:00:a9:fe:01:02", "name": "eth1"},
            {**nic, "mac": "02:00:00:00:00:02", "name": "link0"},
            {
                **nic,
                "mac": "02:00:00:00:00:03",
                "name": "eth2",
                "addresses": ["10.2.1.1/24", "169.254.7.7/24"],
            },
        ],
        "routes": [
            {"destination": "169.254.1.0/24", "gateway": "10.1.1.9", "interface": "eth1"},
            {"destination": "10.9.0.0/16", "gateway": "169.254.0.1", "interface": "link0"},
            {"destination": "0.0.0.0/0", "gateway": "10.1.1.9", "interface": "eth1"},
        ],
    }
    with pytest.raises(InvalidDocument) as caught:
        engine.apply(document(1, interfaces=interfaces))
    assert {problem.path for problem in caught.value.problems} == {
        "interfaces.nics[0].mac",
        "interfaces.nics[1].name",
        "interfaces.nics[2].addresses[1]",
        "interfaces.routes[0].destination",
        "interfaces.routes[1].interface",
    }


def test_a_document_for_another_machine(new_engine: Callable[..., Engine]) -> None:
    engine = new_engine(bootstrap=bootstrap())
    engine.recover()
    raw = document(1).replace(b"0f8fad5b", b"11111111").replace(b'"router"', b'"console"')
    with pytest.raises(InvalidDocument, match="another machine") as caught:
        engine.apply(raw)
    assert {problem.path for problem in caught.value.problems} == {"machine", "role"}


def test_a_document_that_cuts_the_control_channel_undoes_itself(
    new_engine: Callable[..., Engine], tmp_path: Path
) -> None:
    def control() -> ProbeResult:
        cut = "8.8.8.8" in conf(tmp_path, "dnsmasq").read_text()
        return ProbeResult(
            service="agent", name="control", healthy=not cut, message="mgmt cannot reach me" * cut
        )

    engine = new_engine(control=control)
    engine.recover()
    engine.apply(document(1, dnsmasq=DNS))
    with pytest.raises(ApplyFailed, match="agent: control: mgmt cannot reach me; generation 1 is back"):
        engine.apply(document(2, dnsmasq=OTHER_DNS))
    assert "9.9.9.9" in conf(tmp_path, "dnsmasq").read_text()


def test_a_broken_probe_is_unhealthy_in_words(engine: Engine, services: TinyServices) -> None:
    def broken(*_: object) -> list[ProbeResult]:
        raise KeyError("lease")

    object.__setattr__(services.tiny["dnsmasq"].service, "probe", broken)
    with pytest.raises(ApplyFailed, match=r"the probe itself broke: KeyError\('lease'\)"):
        engine.apply(document(1, dnsmasq=DNS))


def test_a_hanging_probe_does_not_hang_the_engine(
    engine: Engine, services: TinyServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("systemvm.engine.probes._OVERRUN", 0.1)
    leave = threading.Event()
    object.__setattr__(services.tiny["dnsmasq"].service, "probe", lambda *_: leave.wait(10) and [])
    try:
        with pytest.raises(ApplyFailed, match=r"no answer within 0\.4 s"):
            engine.apply(document(1, dnsmasq=DNS))
    finally:
        leave.set()


def test_only_ten_generations_and_the_good_one_are_kept(engine: Engine, services: TinyServices) -> None:
    engine.apply(document(1, dnsmasq=DNS))
    services.tiny["dnsmasq"].refuse_apply = "8.8.8.8"
    for generation in range(2, 15):
        with pytest.raises(ApplyFailed):
            engine.apply(document(generation, dnsmasq=OTHER_DNS))
    assert [row.generation for row in engine.kept()] == [*range(14, 4, -1), 1]
