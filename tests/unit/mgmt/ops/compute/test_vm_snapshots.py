"""VM snapshots on the simulator: which the disks go on from, what is used, what is left when one fails."""

import pytest
from sqlalchemy import select

from mgmt.agents.errors import AgentFailed
from mgmt.model.usage import UsageType
from mgmt.ops import names
from mgmt.ops.saga import StepFailed
from mgmt.store.tables import UsageSpan, Vm, VmSnapshot, Volume
from tests.unit.mgmt.small_cloud import SmallCloud

pytestmark = pytest.mark.unit


@pytest.fixture
def vm(cloud: SmallCloud) -> Vm:
    made = cloud.new_vm(cloud.new_network())
    cloud.run(names.DEPLOY_VM, vm_id=made.id)
    return made


def take(cloud: SmallCloud, vm: Vm, name: str, parent: str | None = None) -> str:
    owner = {"account_id": vm.account_id, "domain_id": vm.domain_id, "zone_id": vm.zone_id}
    row = cloud.add(VmSnapshot(**owner, vm_id=vm.id, name=name, display_name=name, parent_id=parent))
    cloud.run(names.CREATE_VM_SNAPSHOT, snapshot_id=row.id, vm_id=vm.id)
    return str(row.id)


def inside(cloud: SmallCloud, vm: Vm) -> set[str]:
    """Snapshots in the VM's root disk."""
    root = next(row for row in cloud.rows(Volume) if row.vm_id == vm.id)
    (host,) = cloud.simulator.hosts.values()
    return host.snapshots[root.id]


def spans(cloud: SmallCloud) -> list[tuple[int, bool]]:
    with cloud.runtime.database.reading() as session:
        kinds = (UsageType.vm_snapshot, UsageType.vm_snapshot_on_primary)
        query = select(UsageSpan).where(UsageSpan.type.in_(kinds)).order_by(UsageSpan.type)
        return [(span.type, span.ended is None) for span in session.scalars(query)]


def test_the_disks_go_on_from_one_snapshot(cloud: SmallCloud, vm: Vm) -> None:
    first = take(cloud, vm, "first")
    second = take(cloud, vm, "second", first)
    third = take(cloud, vm, "third", second)
    assert inside(cloud, vm) == {first, second, third}
    assert cloud.row(VmSnapshot, first).size == 64 << 20
    ids = {"vm_id": vm.id}
    cloud.run(names.DELETE_VM_SNAPSHOT, snapshot_id=second, **ids)
    rows = {row.id: (row.parent_id, row.is_current) for row in cloud.rows(VmSnapshot)}
    assert rows == {first: (None, False), third: (first, True)}
    cloud.run(names.DELETE_VM_SNAPSHOT, snapshot_id=third, **ids)
    assert cloud.row(VmSnapshot, first).is_current
    assert inside(cloud, vm) == {first}
    cloud.run(names.STOP_VM, **ids)
    cloud.run(names.REVERT_VM_SNAPSHOT, snapshot_id=first, **ids)
    assert cloud.row(VmSnapshot, first).state == "Ready"


def test_use_lasts_from_when_it_is_there_until_it_is_gone(cloud: SmallCloud, vm: Vm) -> None:
    cloud.simulator.faults.fail("put_snapshot", AgentFailed("host1", "disk full"))
    with pytest.raises(StepFailed, match="disk full"):
        take(cloud, vm, "failed")
    assert [row.state for row in cloud.rows(VmSnapshot)] == ["Error"]
    assert spans(cloud) == []
    kept = take(cloud, vm, "kept")
    assert spans(cloud) == [(25, True), (27, True)]
    cloud.run(names.DELETE_VM_SNAPSHOT, snapshot_id=kept, vm_id=vm.id)
    assert spans(cloud) == [(25, False), (27, False)]


def test_a_data_volume_that_outlives_its_vm_keeps_no_snapshot_of_it(cloud: SmallCloud, vm: Vm) -> None:
    owner = {"account_id": vm.account_id, "domain_id": vm.domain_id, "zone_id": vm.zone_id}
    data = cloud.add(Volume(**owner, name="data", size=1 << 20))
    cloud.run(names.ATTACH_VOLUME, volume_id=data.id, vm_id=vm.id)
    kept = take(cloud, vm, "kept")
    (host,) = cloud.simulator.hosts.values()
    assert host.snapshots[data.id] == {kept}
    cloud.run(names.DESTROY_VM, vm_id=vm.id, expunge=True)
    assert data.id in host.volumes
    assert host.snapshots[data.id] == set()
    assert cloud.rows(VmSnapshot) == []
