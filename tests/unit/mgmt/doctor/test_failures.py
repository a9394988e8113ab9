"""Each job, each call that it makes failing in each way: it ends, nothing is left, trying again works.

`make test` tries the main jobs, each of their calls in one way or two; `make test-long` all in all ways.
"""

from pathlib import Path

import pytest

from mgmt.doctor.examine import examine
from mgmt.ops.runtime import utc_now
from mgmt.reconcile.loop import Reconciler
from tests.long import LONG
from tests.unit.mgmt.doctor.failures import KINDS, WORDS, again, attempt, let_pass
from tests.unit.mgmt.doctor.scenarios import Arguments, Scenario
from tests.unit.mgmt.doctor.test_crash_points import ELSEWHERE, SCENARIOS, ready
from tests.unit.mgmt.frozen_cloud import FrozenCloud
from tests.unit.mgmt.small_cloud import SmallCloud

pytestmark = pytest.mark.unit

MAIN = {
    *("deploy", "start", "stop", "destroy and expunge", "attach volume", "detach volume"),
    "make VM snapshot with memory",
    *("move disks of a stopped VM", "move disks of a running VM"),
    *("stop router", "reboot router"),
    *("grow attached volume", "restart network with cleanup", "delete network", "apply rule", "revoke rule"),
}
TRIED = [
    item
    for item in SCENARIOS
    if item.succeeds and item.workflow not in ELSEWHERE and (LONG or item.title in MAIN)
]


def calls_of(scenario: Scenario, cloud: SmallCloud, arguments: Arguments) -> list[str]:
    """Names of the calls that the job makes when all is well, in a cloud that nobody has called yet."""
    assert attempt(cloud, scenario.workflow, arguments).failure is None
    return sorted(cloud.simulator.faults.counts())


def check(scenario: Scenario, cloud: SmallCloud, arguments: Arguments, call: str, kind: str) -> None:
    clock, faults = cloud.clock, cloud.simulator.faults
    clock.now = utc_now()  # rows are stamped with the real time
    loop = Reconciler(cloud.runtime, monotonic=clock.seconds)
    fault = faults.plan(KINDS[kind](call))
    ended = attempt(cloud, scenario.workflow, arguments)
    if ended.failure is not None:
        assert WORDS in str(ended.failure), "the agent's own words are not lost"
        assert all(WORDS in words for words in ended.leftovers), ended.leftovers
        assert not ended.leftovers or fault.left is None, "one fault does not hinder the undo"
    let_pass(cloud, loop, 1)
    faults.clear()
    let_pass(cloud, loop)
    assert examine(cloud.runtime) == [], ended
    if ended.failure is not None:
        more = again(cloud, scenario.workflow, arguments)
        assert attempt(cloud, scenario.workflow, more).failure is None, ended
        let_pass(cloud, loop, 1)
        assert examine(cloud.runtime) == [], "after the second try"


def kinds_of(place: int) -> list[str]:
    """Ways to fail for the call at a place of the job's; each way has its turn."""
    kinds = list(KINDS)
    return kinds if LONG else [kinds[place % len(kinds)]]


@pytest.mark.parametrize("scenario", TRIED, ids=lambda item: item.title)
def test_a_job_that_meets_a_fault(scenario: Scenario, first_cloud: FrozenCloud, tmp_path: Path) -> None:
    wrong = []
    start = ready(scenario, first_cloud, tmp_path)
    with start.opened(tmp_path / "whole") as cloud:
        calls = calls_of(scenario, cloud, start.arguments)
    for place, call in enumerate(calls, TRIED.index(scenario)):
        for kind in kinds_of(place):
            try:
                with start.opened(tmp_path / f"{call}-{kind}") as cloud:
                    check(scenario, cloud, start.arguments, call, kind)
            except AssertionError as error:
                wrong.append(f"{call} {kind}: {error}")
    assert not wrong, "\n".join(wrong)
