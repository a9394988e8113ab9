"""A tenant's snapshots on the simulator: taken, made into volumes and templates, reverted, by the clock."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from mgmt.agents.errors import AgentFailed
from mgmt.alloc.counted import correct_domain
from mgmt.api.access import Caller
from mgmt.doctor.examine import examine
from mgmt.model.errors import CloudError, InUse, LimitReached, ParameterError
from mgmt.model.resources import ResourceType
from mgmt.model.usage import UsageType
from mgmt.reconcile.policies import run_policies
from mgmt.store.tables import (
    Account,
    Domain,
    Event,
    Job,
    Snapshot,
    SnapshotPolicy,
    Template,
    UsageSpan,
    User,
    Vm,
    Volume,
)
from tests.unit.mgmt.tenant import Tenant

pytestmark = pytest.mark.unit
GIB = 1024**3


@pytest.fixture
def owner(tenant: Tenant) -> Tenant:
    """A tenant with a running VM, in a zone whose storage VM runs."""
    tenant.deploy(tenant.network())
    with tenant.cloud.runtime.database.writing() as session:  # its template came by the back door, uncounted
        correct_domain(session, session.get_one(Domain, tenant.cloud.domain_id))
    return tenant


def root_of(owner: Tenant) -> Volume:
    (vm,) = (row for row in owner.mine(Vm) if row.kind == "user")
    (volume,) = (row for row in owner.mine(Volume) if row.vm_id == vm.id)
    return volume  # type: ignore[no-any-return]


def take(owner: Tenant, **more: Any) -> Snapshot:
    made = owner.call("createSnapshot", volumeid=root_of(owner).id, **more)
    row: Snapshot = owner.cloud.row(Snapshot, made["id"])
    return row


def stop(owner: Tenant) -> Vm:
    (vm,) = (row for row in owner.mine(Vm) if row.kind == "user")
    owner.call("stopVirtualMachine", id=vm.id)
    return vm  # type: ignore[no-any-return]


def kept(owner: Tenant) -> set[str]:
    """What the storage VM has."""
    storage = next(row for row in owner.cloud.rows(Vm) if row.kind == "storage")
    return set(owner.cloud.simulator.machines[storage.id].templates)


def listed(owner: Tenant, **sent: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = owner.call("listSnapshots", **sent).get("snapshot", [])
    return found


def test_a_snapshot_is_kept_counted_listed_and_deleted(owner: Tenant) -> None:
    row = take(owner, name="before", **{"tags[0].key": "a", "tags[0].value": "b"})
    assert (row.state, row.kind) == ("BackedUp", "MANUAL")
    assert row.sha256
    assert row.id in kept(owner)
    (shown,) = listed(owner, **{"tags[0].key": "a", "tags[0].value": "b"})
    assert (shown["name"], shown["volumetype"], shown["snapshottype"]) == ("before", "ROOT", "MANUAL")
    assert (shown["tags"], shown["revertable"]) == ([{"key": "a", "value": "b"}], True)
    assert shown["physicalsize"] == row.physical_size > 0
    counted = owner.counted()[0]
    assert (counted[ResourceType.snapshot], counted[ResourceType.secondary_storage]) == (1, row.physical_size)
    assert owner.counted() == [owner.real()] * 2
    assert examine(owner.cloud.runtime) == []
    (span,) = (span for span in _spans(owner) if span.resource_id == row.id)
    assert (span.type, span.size, span.ended) == (UsageType.snapshot, row.physical_size, None)

    owner.call("deleteSnapshot", id=row.id)
    assert listed(owner) == []
    assert row.id not in kept(owner)
    assert owner.counted() == [owner.real()] * 2
    assert owner.real()[ResourceType.secondary_storage] == 0
    assert all(span.ended for span in _spans(owner) if span.resource_id == row.id)
    assert examine(owner.cloud.runtime) == []


def _spans(owner: Tenant) -> list[UsageSpan]:
    with owner.cloud.runtime.database.reading() as session:
        return list(session.scalars(select(UsageSpan)))


FILTERS: list[tuple[dict[str, Any], int]] = [
    ({"name": "one"}, 1),
    ({"keyword": "on"}, 1),
    ({"snapshottype": "manual"}, 2),
    ({"snapshottype": "RECURRING"}, 0),
    ({"intervaltype": "DAILY"}, 0),
    ({"locationtype": "PRIMARY"}, 0),
    ({"locationtype": "SECONDARY"}, 2),
    ({"page": 2, "pagesize": 1}, 1),
]


def test_filters(owner: Tenant) -> None:
    take(owner, name="one")
    take(owner)
    for sent, count in FILTERS:
        assert len(listed(owner, **sent)) == count, sent
    assert len(listed(owner, volumeid=root_of(owner).id, zoneid=owner.cloud.zone_id)) == 2


UNSUPPORTED: list[tuple[dict[str, Any], str]] = [
    ({"quiescevm": "true"}, "quiescevm=true is not supported"),
    ({"locationtype": "PRIMARY"}, "SECONDARY"),
]


def test_what_cannot_be_is_refused_in_words(owner: Tenant) -> None:
    for sent, words in UNSUPPORTED:
        with pytest.raises(ParameterError, match=words):
            take(owner, **sent)
    assert owner.mine(Snapshot) == []


def test_limits_hold(owner: Tenant) -> None:
    owner.limit(ResourceType.snapshot, 1)
    take(owner)
    with pytest.raises(LimitReached, match="1 of resource snapshot"):
        take(owner)
    owner.limit(ResourceType.snapshot, -1)
    owner.limit(ResourceType.secondary_storage, 0)
    with pytest.raises(LimitReached, match="secondary_storage"):
        take(owner)
    assert owner.counted() == [owner.real()] * 2


def test_one_that_fails_is_in_error_counts_nothing_and_can_be_deleted(owner: Tenant) -> None:
    owner.cloud.simulator.faults.fail("put_copy", AgentFailed("host1", "no room"))
    row = take(owner)
    assert row.state == "Error"
    (shown,) = owner.call("listSnapshots", id=row.id)["snapshot"]
    assert shown["status"] == "copy the volume to the storage VM: host1: no room"
    assert row.id not in kept(owner)
    assert owner.counted() == [owner.real()] * 2
    with pytest.raises(ParameterError, match="only BackedUp ones"):
        owner.call("createVolume", name="v", snapshotid=row.id)
    owner.call("deleteSnapshot", id=row.id)
    assert listed(owner) == []
    assert owner.counted() == [owner.real()] * 2


def test_a_full_storage_vm_refuses_a_snapshot_in_a_sentence_and_the_volume_is_as_before(
    owner: Tenant,
) -> None:
    (storage,) = (row for row in owner.cloud.rows(Vm) if row.kind == "storage")
    owner.cloud.simulator.machines[storage.id].is_full = True
    before = root_of(owner)
    row = take(owner)
    (job,) = (job for job in owner.mine(Job) if job.command == "createSnapshot")
    assert job.error_text == (
        "copy the volume to the storage VM: host host1: the storage VM refuses it: "
        "the storage VM's data disk has no room for it"
    )
    assert row.state == "Error"
    after = root_of(owner)
    assert (after.state, after.size, after.vm_id) == ("Ready", before.size, before.vm_id)
    assert examine(owner.cloud.runtime) == []
    owner.cloud.simulator.machines[storage.id].is_full = False
    assert take(owner, name="again").state == "BackedUp"


def test_a_volume_is_made_of_a_snapshot_when_it_is_attached(owner: Tenant) -> None:
    row = take(owner)
    with pytest.raises(ParameterError, match="send a larger size"):
        _make_too_small(owner, row)
    made = owner.call("createVolume", name="old", snapshotid=row.id, size=2)
    volume = owner.cloud.row(Volume, made["id"])
    assert (volume.size, volume.snapshot_id, volume.state) == (2 * GIB, row.id, "Allocated")
    with pytest.raises(InUse, match="needed by volume old"):
        owner.call("deleteSnapshot", id=row.id)
    (vm,) = (each for each in owner.mine(Vm) if each.kind == "user")
    owner.call("attachVolume", id=volume.id, virtualmachineid=vm.id)
    (host,) = owner.cloud.simulator.hosts.values()
    assert host.volumes[volume.id].bytes == 2 * GIB
    owner.call("deleteSnapshot", id=row.id)
    owner.call("rebootVirtualMachine", id=vm.id)
    assert examine(owner.cloud.runtime) == [], "what is made needs the snapshot no more"


def _make_too_small(owner: Tenant, row: Snapshot) -> None:
    with owner.cloud.runtime.database.writing() as session:
        session.get_one(Snapshot, row.id).size = 3 * GIB
    try:
        owner.call("createVolume", name="small", snapshotid=row.id, size=2)
    finally:
        with owner.cloud.runtime.database.writing() as session:
            session.get_one(Snapshot, row.id).size = row.size


def test_what_only_the_storage_vm_has_is_not_destroyed_with_it(owner: Tenant) -> None:
    take(owner)
    storage = next(row for row in owner.cloud.rows(Vm) if row.kind == "storage")
    with owner.cloud.runtime.database.reading() as session:
        user = session.get_one(User, owner.cloud.user_id)
        account = session.get_one(Account, owner.cloud.account_id)
        domain = session.get_one(Domain, owner.cloud.domain_id)
    root = Tenant(owner.cloud, owner.context, Caller(user=user, account=account, domain=domain))
    with pytest.raises(InUse, match="keeps 1 snapshots, which are nowhere else"):
        root.call("destroySystemVm", id=storage.id)
    root.call("deleteSnapshot", id=owner.mine(Snapshot)[0].id)
    root.call("destroySystemVm", id=storage.id)
    assert owner.cloud.row(Vm, storage.id).removed is not None


def test_a_template_of_a_snapshot_outlives_it(owner: Tenant) -> None:
    row = take(owner)
    made = owner.call("createTemplate", name="mine", displaytext="m", snapshotid=row.id)
    template = owner.cloud.row(Template, made["id"])
    assert (template.state, template.sha256, template.password_enabled) == ("Ready", row.sha256, True)
    owner.call("deleteSnapshot", id=row.id)
    assert template.id in kept(owner)
    assert examine(owner.cloud.runtime) == []
    owner.cloud.template_id = template.id
    assert owner.deploy(owner.network())["id"]
    assert owner.counted() == [owner.real()] * 2


def test_a_template_of_a_volume_needs_it_at_rest(owner: Tenant) -> None:
    volume = root_of(owner)
    with pytest.raises(ParameterError, match="is Running: stop it"):
        owner.call("createTemplate", name="mine", volumeid=volume.id)
    with pytest.raises(ParameterError, match="volumeid or snapshotid"):
        owner.call("createTemplate", name="mine")
    stop(owner)
    made = owner.call("createTemplate", name="mine", volumeid=volume.id, isfeatured="true")
    template = owner.cloud.row(Template, made["id"])
    assert (template.state, template.source_id, template.is_featured) == ("Ready", volume.id, False)
    owner.cloud.simulator.faults.fail("put_copy", AgentFailed("host1", "no room"))
    failed = owner.call("createTemplate", name="not", volumeid=volume.id)
    assert owner.cloud.row(Template, failed["id"]).removed is not None
    assert owner.counted() == [owner.real()] * 2
    assert examine(owner.cloud.runtime) == []


def test_a_volume_is_reverted_only_at_rest(owner: Tenant) -> None:
    row = take(owner)
    with pytest.raises(ParameterError, match="is Running: stop it"):
        owner.call("revertSnapshot", id=row.id)
    vm = stop(owner)
    before = owner.cloud.simulator.faults.count("put_volume")
    owner.call("revertSnapshot", id=row.id)
    assert owner.cloud.simulator.faults.count("put_volume") == before + 1
    owner.call("destroyVirtualMachine", id=vm.id, expunge="true")
    assert examine(owner.cloud.runtime) == [], "a root disk goes with its VM all the same"
    with pytest.raises(ParameterError, match="its volume is gone"):
        owner.call("revertSnapshot", id=row.id)


class TestPolicies:
    def policy(self, owner: Tenant, **more: Any) -> SnapshotPolicy:
        sent = {"intervaltype": "HOURLY", "schedule": "30", "timezone": "UTC", "maxsnaps": 2} | more
        made = owner.call("createSnapshotPolicy", volumeid=root_of(owner).id, **sent)["snapshotpolicy"]
        row: SnapshotPolicy = owner.cloud.row(SnapshotPolicy, made["id"])
        return row

    def due(self, owner: Tenant, policy: SnapshotPolicy) -> None:
        with owner.cloud.runtime.database.writing() as session:
            moment = owner.cloud.clock.now - timedelta(days=3)
            session.get_one(SnapshotPolicy, policy.id).next_run = moment

    def work(self, owner: Tenant) -> None:
        for job in owner.cloud.rows(Job):
            if job.status == 0:
                owner.context.jobs.start(job.id)

    def test_the_clock_takes_snapshots_and_old_ones_go(self, owner: Tenant) -> None:
        policy = self.policy(owner)
        owner.cloud.clock.now = policy.next_run - timedelta(seconds=1)
        assert run_policies(owner.cloud.runtime) == 0
        for hour in range(3):
            owner.cloud.clock.now = policy.next_run + timedelta(hours=hour)
            assert run_policies(owner.cloud.runtime) == 1
            assert run_policies(owner.cloud.runtime) == 0, "once"
            with owner.cloud.runtime.database.writing() as session:
                for row in owner.mine(Snapshot):
                    if row.state == "Allocated":
                        session.get_one(Snapshot, row.id).created = owner.cloud.clock.now
            self.work(owner)
            assert len(listed(owner, intervaltype="HOURLY")) == min(hour + 1, 2)
        rows = owner.mine(Snapshot)
        assert {(row.state, row.kind, row.policy_id) for row in rows} == {("BackedUp", "HOURLY", policy.id)}
        assert sorted(row.created for row in rows) == [
            policy.next_run + timedelta(hours=1),
            policy.next_run + timedelta(hours=2),
        ]
        assert {row.id for row in rows} == kept(owner) - {owner.cloud.template_id}
        assert owner.counted() == [owner.real()] * 2
        assert examine(owner.cloud.runtime) == []

    def test_runs_that_were_missed_run_once(self, owner: Tenant) -> None:
        policy = self.policy(owner)
        self.due(owner, policy)
        assert run_policies(owner.cloud.runtime) == 1
        again = owner.cloud.row(SnapshotPolicy, policy.id)
        assert again.next_run > owner.cloud.clock.now
        assert run_policies(owner.cloud.runtime) == 0

    def test_one_that_is_over_its_limit_is_left_out_with_a_word(self, owner: Tenant) -> None:
        policy = self.policy(owner)
        self.due(owner, policy)
        owner.limit(ResourceType.snapshot, 0)
        assert run_policies(owner.cloud.runtime) == 0
        assert owner.mine(Snapshot) == []
        (event,) = (row for row in owner.mine(Event) if row.level == "ERROR")
        assert "left out: " in event.description
        assert owner.cloud.row(SnapshotPolicy, policy.id).next_run > owner.cloud.clock.now

    def test_it_ends_with_its_volume(self, owner: Tenant) -> None:
        policy = self.policy(owner)
        owner.call("destroyVirtualMachine", id=stop(owner).id, expunge="true")
        self.due(owner, policy)
        assert run_policies(owner.cloud.runtime) == 0
        assert owner.cloud.row(SnapshotPolicy, policy.id).removed is not None

    def test_one_of_each_interval_changed_and_deleted(self, owner: Tenant) -> None:
        first = self.policy(owner)
        assert self.policy(owner, schedule="45").id == first.id, "the same interval is the same policy"
        other = self.policy(owner, intervaltype="daily", schedule="00:03", timezone="Europe/Berlin")
        found = owner.call("listSnapshotPolicies", volumeid=root_of(owner).id)
        assert sorted((item["intervaltype"], item["schedule"]) for item in found["snapshotpolicy"]) == [
            (0, "45"),
            (1, "00:03"),
        ]
        owner.call("updateSnapshotPolicy", id=other.id, maxsnaps=3, schedule="00:04")
        changed = owner.cloud.row(SnapshotPolicy, other.id)
        assert (changed.most, changed.schedule, changed.timezone) == (3, "00:04", "Europe/Berlin")
        owner.call("deleteSnapshotPolicies", ids=f"{first.id},{other.id}")
        assert owner.mine(SnapshotPolicy) == []

    def test_what_makes_no_sense(self, owner: Tenant) -> None:
        wrong: list[tuple[dict[str, Any], str]] = [
            ({"schedule": "60"}, "'60' is no hourly schedule"),
            ({"intervaltype": "YEARLY"}, "HOURLY, DAILY, WEEKLY, MONTHLY"),
            ({"timezone": "Nowhere"}, "'Nowhere' is no time zone"),
            ({"maxsnaps": 9}, "snapshot.max.hourly"),
            ({"maxsnaps": 0}, "maxsnaps"),
        ]
        for sent, words in wrong:
            with pytest.raises(CloudError, match=words):
                self.policy(owner, **sent)
