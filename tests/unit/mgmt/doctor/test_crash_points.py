"""Each job, its server killed at each of its steps: it ends, and nothing is left over.

Killed after a step was done and before that was recorded is the hard case: `make test` tries it at a
middle step and the last, `make test-long` kills before and after each.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mgmt.alloc.counted import correct_domain
from mgmt.doctor.examine import examine
from mgmt.ops import names
from mgmt.ops.workflows import WORKFLOWS
from mgmt.reconcile.loop import Reconciler
from mgmt.store.tables import Domain
from tests.long import LONG
from tests.unit.mgmt.doctor import scenarios
from tests.unit.mgmt.doctor.copy_scenarios import COPIES
from tests.unit.mgmt.doctor.crashes import Recorded, survive, work
from tests.unit.mgmt.doctor.move_scenarios import MOVES
from tests.unit.mgmt.doctor.scenarios import Scenario
from tests.unit.mgmt.doctor.snapshot_scenarios import SNAPSHOTS
from tests.unit.mgmt.doctor.tenancy_scenarios import TENANCY
from tests.unit.mgmt.doctor.transfer_scenarios import TRANSFERS
from tests.unit.mgmt.doctor.volume_snapshot_scenarios import VOLUME_SNAPSHOTS
from tests.unit.mgmt.frozen_cloud import FrozenCloud, freeze
from tests.unit.mgmt.small_cloud import SmallCloud

pytestmark = pytest.mark.unit
SCENARIOS = (*scenarios.SCENARIOS, *SNAPSHOTS, *VOLUME_SNAPSHOTS, *TRANSFERS, *MOVES, *COPIES, *TENANCY)

#: Workflows whose crash points are elsewhere, and why.
ELSEWHERE = {names.DELETE_TEMPLATE: "the storage VM's reports end it: tests of the reconcile loop"}


@dataclass(frozen=True)
class Ready:
    """A scenario's cloud at the moment when the job starts, and the job's arguments."""

    cloud: FrozenCloud
    arguments: dict[str, Any]

    @contextmanager
    def opened(self, folder: Path) -> Iterator[SmallCloud]:
        """That cloud once more, below a new folder."""
        cloud = self.cloud.thaw(folder)
        yield cloud
        cloud.runtime.database.close()
        shutil.rmtree(folder)


def ready(scenario: Scenario, first: FrozenCloud, folder: Path) -> Ready:
    """`first` is the cloud that the scenario makes ready, below `folder`."""
    cloud = first.thaw(folder)
    arguments = scenario.prepare(cloud)
    with cloud.runtime.database.writing() as session:  # rows came by the back door, uncounted
        correct_domain(session, session.get_one(Domain, cloud.domain_id))
    return Ready(freeze(cloud, folder), arguments)


def points_of(scenario: Scenario, cloud: SmallCloud, arguments: dict[str, Any]) -> list[Recorded]:
    """Where a job's server may die: each record dies at another point."""
    if scenario.starts_clean:
        assert {finding.id for finding in examine(cloud.runtime)} <= {
            str(item) for item in arguments.values()
        }
    record = Recorded()
    assert work(cloud, record, scenario.workflow, arguments) == scenario.succeeds
    assert_nothing_is_left(cloud, scenario, "nobody was killed")
    count = len(record.kept)
    if not LONG:
        some = sorted({count // 2, count - 1} & set(range(count)))
        parts = [Recorded(die_at_part=record.parts - 1)] if record.parts else []
        return [*(Recorded(step, after=True) for step in some), *parts]
    steps = [Recorded(step, after=after) for step in range(count) for after in (False, True)]
    return [*steps, *(Recorded(die_at_part=part) for part in range(record.parts))]


def assert_nothing_is_left(cloud: SmallCloud, scenario: Scenario, where: str) -> None:
    """What was refused is taken from the router by the next look of the loop; all else is done already."""
    if not scenario.succeeds:
        loop = Reconciler(cloud.runtime)
        loop.tick()
        loop.wait_idle()
    assert examine(cloud.runtime) == [], where


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda item: item.title)
def test_a_job_survives_the_death_of_its_server_at_every_step(
    scenario: Scenario, first_cloud: FrozenCloud, tmp_path: Path
) -> None:
    start = ready(scenario, first_cloud, tmp_path)
    with start.opened(tmp_path / "whole") as cloud:
        records = points_of(scenario, cloud, start.arguments)
    for number, record in enumerate(records):
        with start.opened(tmp_path / str(number)) as cloud:
            where = f"killed {record.place}"
            is_done = survive(cloud, scenario.workflow, start.arguments, record)
            assert is_done or not scenario.succeeds, where
            assert_nothing_is_left(cloud, scenario, where)


def test_no_workflow_is_forgotten() -> None:
    swept = {scenario.workflow for scenario in SCENARIOS}
    assert swept | ELSEWHERE.keys() == set(WORKFLOWS)
