"""What the loop decides, from snapshots alone."""

import dataclasses
from typing import Any

import pytest

from mgmt.reconcile.decide import Action, Kind, Snapshot, VmView, VolumeView, ZoneView, decide
from systemvm.spec.host import DomainStatus

pytestmark = pytest.mark.unit

ROUTER = VmView(
    id="r",
    name="r-1-VM",
    kind="router",
    state="Running",
    desired_power="running",
    host_id="h",
    generation=3,
    applied=3,
)
GUEST = VmView(id="g", name="web", kind="user", state="Running", desired_power="running", host_id="h")


def said(state: str, reason: str = "", of: str = "r") -> dict[str, dict[str, DomainStatus]]:
    return {"h": {of: DomainStatus(id=of, name="x", state=state, reason=reason)}}


REBOOTED = {
    "h": {
        "g": DomainStatus(id="g", name="x", state="stopped", reason="its host rebooted", host_rebooted=True)
    }
}


def decided(vm: VmView, reports: dict[str, dict[str, DomainStatus]], **changes: Any) -> list[Action]:
    return decide(Snapshot(vms=(dataclasses.replace(vm, **changes),), reports=reports))


@pytest.mark.parametrize(
    ("vm", "reports", "changes", "expected"),
    [
        pytest.param(ROUTER, said("running"), {}, [], id="all is well"),
        pytest.param(ROUTER, said("preparing"), {}, [], id="its host works on it"),
        pytest.param(ROUTER, {}, {}, [], id="a silent host says nothing about its VMs"),
        pytest.param(
            ROUTER,
            said("crashed", "killed by signal 9"),
            {},
            [Action(Kind.restart, "r", "r-1-VM crashed (killed by signal 9)")],
            id="a crash",
        ),
        pytest.param(
            ROUTER,
            {"h": {}},
            {},
            [Action(Kind.restart, "r", "r-1-VM is not on its host any more")],
            id="gone",
        ),
        pytest.param(ROUTER, said("crashed"), {"is_busy": True}, [], id="a job is about it"),
        pytest.param(
            ROUTER,
            said("running"),
            {"silent": 6},
            [Action(Kind.restart, "r", "the agent of r-1-VM did not answer 6 times", force=True)],
            id="a silent agent",
        ),
        pytest.param(
            ROUTER,
            said("running"),
            {"generation": 5},
            [Action(Kind.push, "r", "r-1-VM has generation 3 of its document, 5 is wanted")],
            id="an old document",
        ),
        pytest.param(
            ROUTER,
            {"h": {}},
            {"state": "Stopped"},
            [Action(Kind.restart, "r", "r-1-VM should run and is Stopped")],
            id="a start that failed",
        ),
        pytest.param(
            ROUTER,
            {"h": {}},
            {"state": "Stopped", "desired_power": "stopped"},
            [],
            id="an operator stopped it",
        ),
        pytest.param(
            GUEST,
            said("stopped", "shut down by the guest", of="g"),
            {},
            [Action(Kind.mark_stopped, "g", "VM web was powered off (shut down by the guest)")],
            id="a guest that powered off is not restarted",
        ),
        pytest.param(
            GUEST,
            said("running", of="g"),
            {"state": "Starting"},
            [Action(Kind.mark_running, "g", "VM web runs, and no job is about it any more")],
            id="a job died after the start",
        ),
        pytest.param(
            GUEST,
            said("stopped", of="g"),
            {"state": "Stopped", "desired_power": "stopped"},
            [],
            id="a stopped guest",
        ),
        pytest.param(
            GUEST,
            REBOOTED,
            {},
            [Action(Kind.start_again, "g", "VM web ran when its host rebooted")],
            id="a reboot",
        ),
        pytest.param(
            GUEST,
            REBOOTED,
            {"desired_power": "stopped", "state": "Stopping"},
            [Action(Kind.mark_stopped, "g", "VM web was powered off (its host rebooted)")],
            id="a reboot while it was being stopped",
        ),
        pytest.param(GUEST, REBOOTED, {"is_busy": True}, [], id="a reboot while a job is about it"),
        pytest.param(
            GUEST,
            REBOOTED,
            {"state": "Stopped"},
            [Action(Kind.start_again, "g", "VM web should run and is Stopped")],
            id="a start after a reboot that failed",
        ),
    ],
)
def test_decisions(
    vm: VmView,
    reports: dict[str, dict[str, DomainStatus]],
    changes: dict[str, Any],
    expected: list[Action],
) -> None:
    assert decided(vm, reports, **changes) == expected


def test_volumes_whose_move_ended_without_an_end_are_looked_after() -> None:
    moving = VolumeView(id="v", name="data")
    busy = VolumeView(id="w", name="more", is_busy=True)
    assert decide(Snapshot(volumes=(moving, busy))) == [
        Action(Kind.settle_volumes, "v", "volume data is Migrating, and no job is about it any more")
    ]


def test_zones_get_their_system_vms_once_they_can_host_them() -> None:
    zone = ZoneView(id="z", name="zone1", lacks=("storage", "console"))
    assert decide(Snapshot(zones=(zone,))) == []
    ready = dataclasses.replace(zone, can_host=True)
    assert decide(Snapshot(zones=(ready,))) == [
        Action(Kind.make_system_vms, "z", "zone zone1 has no storage and console VM yet")
    ]
