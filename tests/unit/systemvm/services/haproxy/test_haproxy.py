"""Balancers: every mistake named, every file as the golden one, every reading of haproxy's answers."""

import importlib
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from systemvm.engine.service import Rendering
from systemvm.engine.testing import RecordedDaemons, recorded_doors
from systemvm.services.haproxy import SERVICE, reads, stats
from systemvm.spec.network import (
    Algorithm,
    Balancer,
    Haproxy,
    Interfaces,
    Keepalived,
    Member,
    Nic,
    VrrpInstance,
)
from systemvm.spec.state import State
from systemvm.spec.types import Purpose, Role
from tests.unit.golden import assert_golden

pytestmark = pytest.mark.unit
# The packages re-export the functions, which hide the modules of the same name.
applying = importlib.import_module("systemvm.services.haproxy.apply")
probing = importlib.import_module("systemvm.services.haproxy.probe")
GOLDEN = Path(__file__).parent / "golden"


def nobody_answers(path: Path, question: str) -> str:
    raise ConnectionRefusedError(f"{path}: {question}")


def uuid(number: int) -> str:
    return str(UUID(int=number))


def state_of(*balancers: Balancer, generation: int = 1, keepalived: Keepalived | None = None) -> State:
    nic = Nic(mac="02:00:00:00:00:01", name="eth1", purpose=Purpose.public, addresses=("198.51.100.1/24",))
    return State(
        generation=generation,
        machine=uuid(1),
        role=Role.router,
        hostname="r-1",
        interfaces=Interfaces(nics=(nic,)),
        haproxy=Haproxy(balancers=balancers),
        keepalived=keepalived,
    )


def members(*numbers: int) -> tuple[Member, ...]:
    return tuple(Member(id=uuid(number), address=f"10.1.1.{number}", port=8080) for number in numbers)


WEB = Balancer(id=uuid(100), address="198.51.100.1", port=80, members=members(11, 12))
SSH = Balancer(
    id=uuid(101),
    address="198.51.100.1",
    port=22,
    algorithm=Algorithm.source,
    sources=("192.0.2.0/24", "203.0.113.7/32"),
    members=members(13),
)
EMPTY = Balancer(id=uuid(102), address="198.51.100.1", port=443)


def test_the_rendered_configuration_is_the_golden_one() -> None:
    (file,) = SERVICE.render(state_of(WEB, SSH, EMPTY)).files
    assert_golden(file, GOLDEN / "haproxy.cfg")


def test_a_balancer_without_members_is_not_listened_for() -> None:
    (file,) = SERVICE.render(state_of(WEB, EMPTY)).files
    assert EMPTY.id not in file.text
    assert SERVICE.render(state_of(EMPTY)) == Rendering()
    assert SERVICE.render(msgspec.structs.replace(state_of(WEB), haproxy=None)) == Rendering()


def test_another_generation_of_the_same_balancers_renders_the_same() -> None:
    assert SERVICE.render(state_of(WEB)) == SERVICE.render(state_of(WEB, generation=9))


def test_every_mistake_is_named_at_once() -> None:
    wrong = Balancer(
        id=WEB.id,
        address="999.1.1.1",
        port=80,
        members=(*members(11, 11), Member(id=uuid(12), address="10.1.1.300", port=1)),
    )
    itself = Member(id=uuid(20), address="198.51.100.2", port=80)
    foreign = Balancer(id=uuid(103), address="198.51.100.2", port=80, members=(itself,))
    twin = Balancer(id=uuid(104), address=WEB.address, port=WEB.port)
    problems = SERVICE.check(state_of(WEB, wrong, foreign, twin))
    assert [problem.path for problem in problems] == [
        "haproxy.balancers[1].id",
        "haproxy.balancers[1].address",
        "haproxy.balancers[1].members[1].id",
        "haproxy.balancers[1].members[1]",
        "haproxy.balancers[1].members[2].address",
        "haproxy.balancers[2].address",
        "haproxy.balancers[2].members[0]",
        "haproxy.balancers[3].port",
    ]
    assert "198.51.100.1:80 is taken by balancers[0]" in problems[-1].message


def test_an_address_that_keepalived_moves_is_our_own() -> None:
    vrrp = VrrpInstance(
        name="public",
        interface="eth1",
        virtual_router_id=1,
        priority=100,
        address="198.51.100.1",
        peer="198.51.100.2",
        virtual_addresses=("198.51.100.7/24",),
    )
    moved = Balancer(id=uuid(100), address="198.51.100.7", port=80, members=members(11))
    assert SERVICE.check(state_of(moved, keepalived=Keepalived(instances=(vrrp,)))) == []
    assert len(SERVICE.check(state_of(moved))) == 1


def test_apply_keeps_what_the_old_worker_knew_and_waits_for_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doors = recorded_doors(tmp_path)
    rendering = SERVICE.render(state_of(WEB))
    digest = applying._digest_of(rendering)
    infos = iter(["Description: older\n", f"Description: {digest}\n"])
    answers = {"show servers state": iter(["1\nstates\n"]), "show info": infos}
    monkeypatch.setattr(stats, "ask", lambda path, question: next(answers[question]))
    SERVICE.apply(rendering, Rendering(), doors)
    assert (tmp_path / "run/pileus/haproxy/servers.state").read_text() == "1\nstates\n"
    assert isinstance(doors.daemons, RecordedDaemons)
    assert doors.daemons.calls == [("start", "haproxy")]
    assert list(infos) == []


def test_apply_fails_with_haproxys_words_when_the_old_worker_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doors = recorded_doors(tmp_path)
    assert isinstance(doors.daemons, RecordedDaemons)
    doors.daemons.printed["haproxy"] = ["cannot bind socket (Address in use)"]
    monkeypatch.setattr(applying, "DEADLINE", 0.1)
    monkeypatch.setattr(stats, "ask", nobody_answers)
    with pytest.raises(applying.ApplyFailed, match="Address in use"):
        SERVICE.apply(SERVICE.render(state_of(WEB)), Rendering(), doors)


def test_apply_of_nothing_touches_nothing(tmp_path: Path) -> None:
    doors = recorded_doors(tmp_path)
    SERVICE.apply(Rendering(), SERVICE.render(state_of(WEB)), doors)
    assert list(tmp_path.iterdir()) == []


def test_a_dead_haproxy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats, "ask", nobody_answers)
    monkeypatch.setattr(probing, "_connect", lambda balancers, deadline: ["x:1"])
    results = {result.name: result for result in SERVICE.probe(state_of(WEB), recorded_doors(tmp_path))}
    assert {name: result.healthy for name, result in results.items()} == {
        "worker": False,
        "members": False,
        "connect": False,
    }
    assert SERVICE.probe(state_of(EMPTY), recorded_doors(tmp_path)) == []
    assert reads.read_balancers(recorded_doors(tmp_path)) == []
