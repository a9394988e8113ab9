"""The machine's clock jumps a day ahead or goes back: nothing is lost, and duties go on."""

from datetime import datetime, timedelta

import pytest

from mgmt.api.throttle import MOST_FAILURES, WINDOW, check, settle
from mgmt.model.schedules import Interval, read_schedule
from mgmt.model.states import VmState
from mgmt.ops import names
from mgmt.reconcile.certificates import Certificates
from mgmt.reconcile.policies import bring_near
from mgmt.reconcile.steady import CALM
from mgmt.reconcile.sweep import Sweeper
from mgmt.store import usage
from mgmt.store.tables import SnapshotPolicy, UsageSpan, Vm
from tests.unit.mgmt.doctor.scenarios import data_volume, town
from tests.unit.mgmt.small_cloud import SmallCloud

pytestmark = pytest.mark.unit

DAY, HOUR = timedelta(days=1), timedelta(hours=1)


class Passing:
    """Time that really passes, apart from what the clock says."""

    def __init__(self, cloud: SmallCloud) -> None:
        self._cloud = cloud
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        self._cloud.clock.sleep(seconds)


def test_a_clock_a_day_ahead_costs_no_vm(cloud: SmallCloud) -> None:
    vm = town(cloud).vm
    cloud.run(names.DESTROY_VM, vm_id=vm.id)
    with cloud.runtime.database.writing() as session:
        session.get_one(Vm, vm.id).created = cloud.clock.now
    passing = Passing(cloud)
    sweeper = Sweeper(cloud.runtime, passing)
    sweeper.sweep()
    cloud.clock.now += 2 * DAY
    for _ in range(3):
        sweeper.sweep()
        passing.sleep(30)
    assert cloud.row(Vm, vm.id).state == VmState.destroyed
    cloud.clock.now -= 2 * DAY
    sweeper.sweep()
    passing.sleep(CALM + 1)
    sweeper.sweep()
    assert cloud.row(Vm, vm.id).removed is None, "it was not destroyed a day ago"
    for _ in range(26):
        passing.sleep(HOUR.total_seconds())
        cloud.clock.now += timedelta(seconds=5)  # a clock may run a little faster
        sweeper.sweep()
    assert cloud.row(Vm, vm.id).removed is not None, "now it was"


def test_a_clock_that_went_back_stops_no_duty(cloud: SmallCloud) -> None:
    passing = Passing(cloud)
    sweeper = Sweeper(cloud.runtime, passing)
    sweeper.sweep()
    cloud.clock.now -= 10 * DAY
    sweeper.sweep()
    vm = town(cloud).vm
    cloud.run(names.DESTROY_VM, vm_id=vm.id)
    with cloud.runtime.database.writing() as session:
        session.get_one(Vm, vm.id).created = cloud.clock.now
    for _ in range(27):
        passing.sleep(HOUR.total_seconds())
        sweeper.sweep()
    assert cloud.row(Vm, vm.id).removed is not None, "a day later, not eleven"


def test_certificates_are_looked_at_within_the_hour(cloud: SmallCloud) -> None:
    certificates = Certificates(cloud.runtime)
    cloud.clock.now += DAY
    certificates.look()
    before = cloud.simulator.faults.count("machine.certificate")
    cloud.clock.now -= DAY
    certificates.look()
    assert cloud.simulator.faults.count("machine.certificate") == 2 * before


def test_use_is_never_less_than_nothing(cloud: SmallCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = datetime.now().astimezone()
    monkeypatch.setattr(usage, "now", lambda: moment.replace(microsecond=0))
    vm = town(cloud).vm
    moment -= HOUR
    cloud.run(names.DESTROY_VM, vm_id=vm.id, expunge=True)
    spans = [span for span in cloud_spans(cloud) if span.resource_id == vm.id]
    assert spans
    assert all(span.ended == span.started for span in spans)


def cloud_spans(cloud: SmallCloud) -> list[UsageSpan]:
    with cloud.runtime.database.reading() as session:
        return list(session.query(UsageSpan))


def test_failed_log_ins_of_a_clock_that_was_ahead_ban_nobody(cloud: SmallCloud) -> None:
    key = ("login", "203.0.113.7")
    ahead = cloud.clock.now + DAY
    with cloud.runtime.database.writing() as session:
        for _ in range(MOST_FAILURES):
            settle(session, key, ahead, right=False)
        check(session, key, cloud.clock.now)
        check(session, key, ahead + WINDOW)


def test_a_schedule_is_kept_after_the_clock_went_back(cloud: SmallCloud) -> None:
    volume = data_volume(cloud)
    columns = {"interval": int(Interval.hourly), "schedule": "5", "most": 1}
    policy = cloud.add(
        SnapshotPolicy(
            account_id=cloud.account_id,
            domain_id=cloud.domain_id,
            volume_id=volume.id,
            next_run=cloud.clock.now + DAY,
            **columns,
        )
    )
    with cloud.runtime.database.writing() as session:
        bring_near(session, cloud.clock.now)
    nearest = read_schedule(Interval.hourly, "5", "UTC").next_after(cloud.clock.now)
    assert cloud.row(SnapshotPolicy, policy.id).next_run == nearest
