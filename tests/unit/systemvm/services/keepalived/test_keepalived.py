"""Redundancy: every mistake named, the file as the golden one, states told apart by addresses."""

import importlib
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from systemvm.engine.service import Rendering
from systemvm.engine.testing import RecordedDaemons, recorded_doors
from systemvm.services.keepalived import SERVICE
from systemvm.services.keepalived.vrrp import VrrpState, VrrpStatus
from systemvm.spec.network import Interfaces, Keepalived, Nic, VrrpInstance
from systemvm.spec.state import State
from systemvm.spec.types import Purpose, Role
from tests.unit.golden import assert_golden

pytestmark = pytest.mark.unit
# The package re-exports the function, which hides the module of the same name.
probing = importlib.import_module("systemvm.services.keepalived.probe")
GOLDEN = Path(__file__).parent / "golden"
PUBLIC = VrrpInstance(
    name="public",
    interface="eth1",
    virtual_router_id=51,
    priority=150,
    address="198.51.100.2",
    peer="198.51.100.3",
    virtual_addresses=("198.51.100.1/24", "198.51.100.9/24"),
)
GUEST = VrrpInstance(
    name="guest",
    interface="eth2",
    virtual_router_id=51,
    priority=150,
    address="10.1.1.2",
    peer="10.1.1.3",
    virtual_addresses=("10.1.1.1/24",),
    advert_seconds=2,
)


def state_of(*instances: VrrpInstance) -> State:
    nics = (
        Nic(mac="02:00:00:00:00:01", name="eth1", purpose=Purpose.public, addresses=("198.51.100.2/24",)),
        Nic(mac="02:00:00:00:00:02", name="eth2", purpose=Purpose.guest, addresses=("10.1.1.2/24",)),
    )
    return State(
        generation=1,
        machine=str(UUID(int=1)),
        role=Role.router,
        hostname="r-1",
        interfaces=Interfaces(nics=nics),
        keepalived=Keepalived(instances=instances),
    )


def test_the_rendered_configuration_is_the_golden_one() -> None:
    state = state_of(PUBLIC, GUEST)
    assert SERVICE.check(state) == []
    config, _ = SERVICE.render(state).files
    assert_golden(config, GOLDEN / "keepalived.conf")


def test_without_instances_there_is_nothing() -> None:
    assert SERVICE.render(state_of()) == Rendering()
    assert SERVICE.render(msgspec.structs.replace(state_of(), keepalived=None)) == Rendering()


def test_every_mistake_is_named_at_once() -> None:
    replace = msgspec.structs.replace
    problems = SERVICE.check(
        state_of(
            PUBLIC,
            replace(PUBLIC, name="other"),
            replace(GUEST, interface="eth9", peer="10.1.1.2", virtual_addresses=("10.1.1.1/99",)),
            replace(GUEST, name="last", address="10.1.1.400", virtual_addresses=()),
            replace(GUEST, name="fixed", virtual_router_id=9, virtual_addresses=("10.1.1.2/24",)),
        )
    )
    assert [
        (problem.path.removeprefix("keepalived.instances"), problem.message[:28]) for problem in problems
    ] == [
        ("[1].virtual_router_id", "router id 51 on eth1 is take"),
        ("[1].virtual_addresses", "198.51.100.1/24 is also in i"),
        ("[1].virtual_addresses", "198.51.100.9/24 is also in i"),
        ("[2].interface", "there is no interface eth9: "),
        ("[2].peer", "10.1.1.2 is this router itse"),
        ("[2].virtual_addresses[0]", "10.1.1.1/99 is no IPv4 addre"),
        ("[3].address", "10.1.1.400 is no address of "),
        ("[3].address", "10.1.1.400 is no IPv4 addres"),
        ("[3].virtual_addresses", "there must be at least one"),
        ("[4].virtual_addresses", "10.1.1.2/24 is already a fix"),
    ]


def test_apply_starts_then_reloads(tmp_path: Path) -> None:
    doors, rendering = recorded_doors(tmp_path), SERVICE.render(state_of(PUBLIC))
    assert isinstance(doors.daemons, RecordedDaemons)
    SERVICE.apply(rendering, Rendering(), doors)
    SERVICE.apply(rendering, rendering, doors)
    assert doors.daemons.calls == [("start", "keepalived"), ("reload", "keepalived")]


@pytest.mark.parametrize(
    ("state", "healthy"),
    [
        (VrrpState.primary, True),
        (VrrpState.backup, True),
        (VrrpState.mixed, False),
        (VrrpState.fault, False),
    ],
)
def test_the_probe_tells_the_state(
    state: VrrpState, healthy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = VrrpStatus(name="public", interface="eth1", state=state, held=("198.51.100.1/24",))
    monkeypatch.setattr(probing, "SETTLE", 0.0)
    monkeypatch.setattr(probing, "read_status", lambda instance: status)
    daemon, instance = SERVICE.probe(state_of(PUBLIC), recorded_doors(tmp_path))
    assert not daemon.healthy
    assert instance.healthy is healthy
