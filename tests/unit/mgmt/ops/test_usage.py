"""Usage: spans follow what happens, days are summed up once."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event, select

from mgmt.alloc.addresses import claim, release
from mgmt.model.usage import UsageType
from mgmt.ops import names
from mgmt.ops.saga import StepFailed
from mgmt.ops.usage import MARK, aggregate, forget_spans
from mgmt.store.database import Database
from mgmt.store.tables import (
    Network,
    PublicAddress,
    Setting,
    Snapshot,
    Template,
    UsageRecord,
    UsageSpan,
    Vm,
    Volume,
)
from tests.unit.mgmt.small_cloud import SmallCloud

pytestmark = pytest.mark.unit
START = datetime(2026, 1, 1, tzinfo=UTC)


def spans(cloud: SmallCloud, resource_id: str) -> list[tuple[UsageType, bool]]:
    """Kind of each span of a resource, and whether it is still open, the oldest first."""
    with cloud.runtime.database.reading() as session:
        query = select(UsageSpan).where(UsageSpan.resource_id == resource_id)
        rows = sorted(session.scalars(query), key=lambda row: (row.type, row.ended is None))
    return [(UsageType(row.type), row.ended is None) for row in rows]


def test_the_life_of_a_vm(cloud: SmallCloud) -> None:
    vm = cloud.new_vm(cloud.new_network())
    assert spans(cloud, vm.id) == [(UsageType.allocated_vm, True)]
    cloud.run(names.DEPLOY_VM, vm_id=vm.id)
    running, allocated = UsageType.running_vm, UsageType.allocated_vm
    assert spans(cloud, vm.id) == [(running, True), (allocated, True)]
    cloud.run(names.STOP_VM, vm_id=vm.id)
    assert spans(cloud, vm.id) == [(running, False), (allocated, True)]
    cloud.run(names.START_VM, vm_id=vm.id)
    assert spans(cloud, vm.id) == [(running, False), (running, True), (allocated, True)]
    cloud.run(names.DESTROY_VM, vm_id=vm.id)
    assert spans(cloud, vm.id) == [(running, False), (running, False), (allocated, False)]
    (root,) = [row for row in cloud.rows(Volume) if row.vm_id == vm.id]
    assert spans(cloud, root.id) == [(UsageType.volume, True)]
    cloud.run(names.EXPUNGE_VM, vm_id=vm.id)
    assert spans(cloud, root.id) == [(UsageType.volume, False)]


def test_system_vms_are_nobodys(cloud: SmallCloud) -> None:
    cloud.run(names.DEPLOY_VM, vm_id=cloud.new_vm(cloud.new_network()).id)
    system = {vm.id for vm in cloud.rows(Vm) if vm.kind != "user"}
    disks = {volume.id for volume in cloud.rows(Volume) if volume.vm_id in system}
    with cloud.runtime.database.reading() as session:
        used = set(session.scalars(select(UsageSpan.resource_id)))
    assert len(system) == 3
    assert not used & (system | disks)


def test_what_is_rolled_back_was_not_used(cloud: SmallCloud) -> None:
    network = cloud.new_network()

    def fail() -> None:
        with cloud.runtime.database.writing() as session:
            claim(session, network=session.get_one(Network, network.id))
            session.flush()
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fail()
    with cloud.runtime.database.reading() as session:
        assert session.scalars(select(UsageSpan).where(UsageSpan.type == 3)).all() == []
    vm = cloud.new_vm(network)
    with cloud.runtime.database.writing() as session:
        session.get_one(Vm, vm.id).display_name = "other"
    assert spans(cloud, vm.id) == [(UsageType.allocated_vm, True)], "that is no other use"


def test_the_size_that_a_user_chose_is_billed(cloud: SmallCloud) -> None:
    vm = cloud.new_vm(cloud.new_network())
    with cloud.runtime.database.writing() as session:
        row = session.get_one(Vm, vm.id)
        row.cpus, row.cpu_speed, row.memory = 2, 500, 4096
    assert spans(cloud, vm.id) == [(UsageType.allocated_vm, False), (UsageType.allocated_vm, True)]
    with cloud.runtime.database.writing() as session:
        for span in session.scalars(select(UsageSpan).where(UsageSpan.resource_id == vm.id)):
            span.started, span.ended = START, START + timedelta(hours=6 if span.memory else 2)
    aggregate(cloud.runtime.database, START + timedelta(days=1))
    records = [row for row in cloud.rows(UsageRecord) if row.resource_id == vm.id]
    assert {(row.raw, row.cpus, row.cpu_speed, row.memory) for row in records} == {
        (2, None, None, None),
        (6, 2, 500, 4096),
    }


def test_a_deploy_that_fails_ends_its_use(cloud: SmallCloud) -> None:
    vm = cloud.new_vm(cloud.new_network())
    cloud.simulator.hosts["172.31.240.1"].is_down = True
    with pytest.raises(StepFailed):
        cloud.run(names.DEPLOY_VM, vm_id=vm.id)
    cloud.simulator.hosts["172.31.240.1"].is_down = False
    assert (UsageType.running_vm, True) not in spans(cloud, vm.id)


def test_addresses_volumes_templates_and_snapshots(cloud: SmallCloud) -> None:
    network = cloud.new_network()
    with cloud.runtime.database.writing() as session:
        address = claim(session, network=session.get_one(Network, network.id)).id
    assert spans(cloud, address) == [(UsageType.public_address, True)]
    with cloud.runtime.database.writing() as session:
        release(session, session.get_one(PublicAddress, address))
    assert spans(cloud, address) == [(UsageType.public_address, False)]
    mine = {"account_id": cloud.account_id, "domain_id": cloud.domain_id, "zone_id": cloud.zone_id}
    volume = cloud.add(Volume(name="v", size=10, **mine))
    iso = cloud.add(Template(name="i", display_text="i", url="", kind="iso", state="Downloading", **mine))
    shot = cloud.add(Snapshot(name="s", volume_id=volume.id, **mine))
    assert [spans(cloud, row.id) for row in (iso, shot)] == [[], []]
    with cloud.runtime.database.writing() as session:
        session.get_one(Volume, volume.id).size = 20
        session.get_one(Template, iso.id).state = "Ready"
        session.get_one(Snapshot, shot.id).state = "BackedUp"
    assert spans(cloud, volume.id) == [(UsageType.volume, False), (UsageType.volume, True)]
    assert spans(cloud, iso.id) == [(UsageType.iso, True)]
    assert spans(cloud, shot.id) == [(UsageType.snapshot, True)]


def add_span(cloud: SmallCloud, start: float, end: float | None, name: str = "web", kind: int = 1) -> None:
    """A span from hour `start` to hour `end` after START."""
    cloud.add(
        UsageSpan(
            account_id=cloud.account_id,
            domain_id=cloud.domain_id,
            zone_id=cloud.zone_id,
            type=kind,
            resource_id=name,
            name=name,
            started=START + timedelta(hours=start),
            ended=None if end is None else START + timedelta(hours=end),
        )
    )


def records(database: Database) -> list[tuple[int, str, float]]:
    """Day after START, name and hours of each record."""
    with database.reading() as session:
        rows = session.scalars(select(UsageRecord))
        return sorted(((row.start - START).days, row.name, row.raw) for row in rows)


@pytest.fixture
def used(cloud: SmallCloud) -> SmallCloud:
    """Only the spans of the test: what the cloud's own rows were used for is forgotten."""
    with cloud.runtime.database.writing() as session:
        for span in session.scalars(select(UsageSpan)):
            session.delete(span)
    return cloud


def test_days_are_summed_up_once_they_are_over(used: SmallCloud) -> None:
    add_span(used, 2, 5)
    add_span(used, 6, 7.5)
    add_span(used, 20, 30, "db")
    add_span(used, 40, None, "new")
    database = used.runtime.database
    assert aggregate(database, START + timedelta(hours=23)) == 0
    assert records(database) == []
    assert aggregate(database, START + timedelta(hours=49)) == 2
    expected = [(0, "db", 4.0), (0, "web", 4.5), (1, "db", 6.0), (1, "new", 8.0)]
    assert records(database) == expected
    assert aggregate(database, START + timedelta(hours=49)) == 0
    assert records(database) == expected, "doing it again changes nothing"
    assert aggregate(database, START + timedelta(hours=72)) == 1
    assert records(database)[-1] == (2, "new", 24.0)


def test_a_day_that_was_cut_is_done_again_whole(used: SmallCloud) -> None:
    add_span(used, 0, 10)
    database = used.runtime.database

    def die(_connection: object) -> None:
        raise InterruptedError

    event.listen(database.engine, "commit", die)
    with pytest.raises(InterruptedError):
        aggregate(database, START + timedelta(days=1))
    event.remove(database.engine, "commit", die)
    assert records(database) == []
    assert aggregate(database, START + timedelta(days=1)) == 1
    assert records(database) == [(0, "web", 10.0)]
    with database.reading() as session:
        assert session.get_one(Setting, MARK).value == "2026-01-01"


def test_old_spans_go_once_they_are_in_records(used: SmallCloud) -> None:
    add_span(used, 0, 10)
    add_span(used, 30, 31, "later")
    database = used.runtime.database
    aggregate(database, START + timedelta(days=1))
    with database.writing() as session:
        forget_spans(session, START + timedelta(days=9))
        assert [span.name for span in session.scalars(select(UsageSpan))] == ["later"]
