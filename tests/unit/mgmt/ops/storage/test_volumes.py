"""Data volumes: rows, files, plugged and unplugged, kept when their VM goes."""

import pytest

from mgmt.agents.errors import AgentFailed
from mgmt.model.states import VolumeState
from mgmt.ops import names
from mgmt.ops.saga import StepFailed
from mgmt.store.tables import Vm, Volume
from tests.unit.mgmt.small_cloud import SmallCloud

pytestmark = pytest.mark.unit


@pytest.fixture
def vm(cloud: SmallCloud) -> Vm:
    vm = cloud.new_vm(cloud.new_network())
    cloud.run(names.DEPLOY_VM, vm_id=vm.id)
    return vm


@pytest.fixture
def volume(cloud: SmallCloud) -> Volume:
    row: Volume = cloud.add(
        Volume(
            account_id=cloud.account_id,
            domain_id=cloud.domain_id,
            zone_id=cloud.zone_id,
            name="data",
            size=1 << 30,
        )
    )
    return row


def plugged(cloud: SmallCloud, vm: Vm) -> list[str]:
    return [disk.id for disk in cloud.simulator.hosts["172.31.240.1"].domains[vm.id].volumes]


def test_attach_detach_delete(cloud: SmallCloud, vm: Vm, volume: Volume) -> None:
    cloud.run(names.ATTACH_VOLUME, volume_id=volume.id, vm_id=vm.id)
    row = cloud.row(Volume, volume.id)
    assert (row.state, row.vm_id, row.device, row.pool_id) == (VolumeState.ready, vm.id, 1, cloud.pool_id)
    assert plugged(cloud, vm)[1:] == [volume.id]
    with pytest.raises(StepFailed, match="attached to a VM: detach it first"):
        cloud.run(names.DELETE_VOLUME, volume_id=volume.id)
    cloud.run(names.DETACH_VOLUME, volume_id=volume.id)
    assert len(plugged(cloud, vm)) == 1
    assert cloud.row(Volume, volume.id).vm_id is None
    cloud.run(names.DELETE_VOLUME, volume_id=volume.id)
    assert cloud.row(Volume, volume.id).removed is not None
    assert volume.id not in cloud.simulator.hosts["172.31.240.1"].volumes


def test_a_volume_attached_to_a_stopped_vm_is_there_when_it_starts(
    cloud: SmallCloud, vm: Vm, volume: Volume
) -> None:
    cloud.run(names.STOP_VM, vm_id=vm.id)
    cloud.run(names.ATTACH_VOLUME, volume_id=volume.id, vm_id=vm.id)
    cloud.run(names.START_VM, vm_id=vm.id)
    assert plugged(cloud, vm)[1:] == [volume.id]
    cloud.run(names.STOP_VM, vm_id=vm.id)
    cloud.run(names.DETACH_VOLUME, volume_id=volume.id)
    assert len(plugged(cloud, vm)) == 1


def test_data_volumes_outlive_their_vm(cloud: SmallCloud, vm: Vm, volume: Volume) -> None:
    cloud.run(names.STOP_VM, vm_id=vm.id)
    cloud.run(names.ATTACH_VOLUME, volume_id=volume.id, vm_id=vm.id)
    cloud.run(names.START_VM, vm_id=vm.id)
    cloud.run(names.DESTROY_VM, vm_id=vm.id, expunge=True)
    row = cloud.row(Volume, volume.id)
    assert (row.removed, row.vm_id, row.state) == (None, None, VolumeState.ready)
    assert volume.id in cloud.simulator.hosts["172.31.240.1"].volumes


@pytest.mark.parametrize("expunge", [False, True])
def test_a_volume_goes_with_its_vm_if_that_was_asked_for(
    cloud: SmallCloud, vm: Vm, volume: Volume, expunge: bool
) -> None:
    cloud.run(names.ATTACH_VOLUME, volume_id=volume.id, vm_id=vm.id)
    cloud.run(names.DESTROY_VM, vm_id=vm.id, expunge=expunge, volume_ids=[volume.id])
    assert (cloud.row(Vm, vm.id).removed is None) == (not expunge)
    assert cloud.row(Volume, volume.id).removed is not None
    assert volume.id not in cloud.simulator.hosts["172.31.240.1"].volumes


def test_a_failed_plug_takes_the_volume_back(cloud: SmallCloud, vm: Vm, volume: Volume) -> None:
    cloud.simulator.faults.fail("put_domain", AgentFailed("host host1", "no free PCI port"))
    with pytest.raises(StepFailed, match="no free PCI port"):
        cloud.run(names.ATTACH_VOLUME, volume_id=volume.id, vm_id=vm.id)
    row = cloud.row(Volume, volume.id)
    assert (row.vm_id, row.device) == (None, None)
    assert len(plugged(cloud, vm)) == 1


def test_no_room_says_how_full_each_pool_is(cloud: SmallCloud, vm: Vm, volume: Volume) -> None:
    with cloud.runtime.database.writing() as session:
        session.get_one(Volume, volume.id).size = 5000 << 30
    with pytest.raises(StepFailed, match=r"pool primary has promised .* of 2000.0 GiB") as failed:
        cloud.run(names.ATTACH_VOLUME, volume_id=volume.id, vm_id=vm.id)
    assert failed.value.code == 533
