"""Volumes that grow, ISOs in drives: what hosts are told, what counts, what stays when they refuse."""

from typing import Any

import pytest

from mgmt.agents.errors import AgentFailed
from mgmt.alloc.counted import recount
from mgmt.model.errors import ParameterError
from mgmt.model.resources import ResourceType
from mgmt.ops import names
from mgmt.ops.saga import StepFailed
from mgmt.store.tables import DiskOffering, ResourceCount, Template, Vm, Volume
from tests.unit.mgmt.doctor.scenarios import data_volume, new_iso, town
from tests.unit.mgmt.small_cloud import SmallCloud

pytestmark = pytest.mark.unit
GIB = 1 << 30


def host_of(cloud: SmallCloud) -> Any:
    return cloud.simulator.hosts["172.31.240.1"]


def counted(cloud: SmallCloud) -> int:
    with cloud.runtime.database.reading() as session:
        row = session.get_one(ResourceCount, (cloud.account_id, int(ResourceType.primary_storage)))
        return row.used


def root_of(cloud: SmallCloud, vm: Vm) -> Volume:
    root: Volume = next(row for row in cloud.rows(Volume) if row.vm_id == vm.id and row.device == 0)
    return root


def test_a_root_disk_of_a_running_vm_grows_and_counts(cloud: SmallCloud) -> None:
    vm = town(cloud).vm
    root, before = root_of(cloud, vm), counted(cloud)
    cloud.run(names.RESIZE_VOLUME, volume_id=root.id, size=3 * GIB)
    assert cloud.row(Volume, root.id).size == host_of(cloud).volumes[root.id].bytes == 3 * GIB
    assert counted(cloud) - before == 3 * GIB - root.size
    assert root.id not in host_of(cloud).kept, "it still goes with its VM"
    with cloud.runtime.database.reading() as session:
        assert recount(session, [cloud.account_id])[cloud.account_id][ResourceType.volume] == 1


def test_one_that_is_a_row_only_is_made_with_its_new_size(cloud: SmallCloud) -> None:
    vm, volume = town(cloud).vm, data_volume(cloud)
    cloud.run(names.RESIZE_VOLUME, volume_id=volume.id, size=2 * GIB)
    assert volume.id not in host_of(cloud).volumes
    cloud.run(names.ATTACH_VOLUME, volume_id=volume.id, vm_id=vm.id)
    assert host_of(cloud).volumes[volume.id].bytes == 2 * GIB


@pytest.mark.parametrize("is_stopped", [False, True])
def test_refused_by_the_host_it_is_as_before(cloud: SmallCloud, is_stopped: bool) -> None:
    vm = town(cloud).vm
    if is_stopped:
        cloud.run(names.STOP_VM, vm_id=vm.id)
    root, before = root_of(cloud, vm), counted(cloud)
    cloud.simulator.faults.fail("put_domain", AgentFailed("host host1", "no space left"))
    with pytest.raises(StepFailed, match="no space left"):
        cloud.run(names.RESIZE_VOLUME, volume_id=root.id, size=3 * GIB)
    assert cloud.said == []
    assert (cloud.row(Volume, root.id).size, counted(cloud)) == (root.size, before)


def test_what_grew_before_the_answer_was_lost_stays_so(cloud: SmallCloud) -> None:
    vm = town(cloud).vm
    root, before = root_of(cloud, vm), counted(cloud)
    put = cloud.simulator.put_domain

    def lose(*args: Any, **more: Any) -> Any:
        put(*args, **more)
        raise AgentFailed("host host1", "lost")

    cloud.simulator.put_domain = lose  # type: ignore[method-assign]
    with pytest.raises(StepFailed, match="lost"):
        cloud.run(names.RESIZE_VOLUME, volume_id=root.id, size=3 * GIB)
    assert cloud.row(Volume, root.id).size == 3 * GIB
    assert counted(cloud) - before == 3 * GIB - root.size


def test_too_much_for_its_pool_is_refused_with_the_pools_words(cloud: SmallCloud) -> None:
    root = root_of(cloud, town(cloud).vm)
    with pytest.raises(StepFailed, match=r"no room to grow .* pool primary has promised") as failed:
        cloud.run(names.RESIZE_VOLUME, volume_id=root.id, size=5000 * GIB)
    assert failed.value.code == 533


def test_an_iso_is_in_the_drive_until_it_is_taken_out(cloud: SmallCloud) -> None:
    vm, iso_id = town(cloud).vm, new_iso(cloud)
    cloud.run(names.ATTACH_ISO, vm_id=vm.id, iso_id=iso_id)
    told = host_of(cloud).domains[vm.id]
    assert (told.iso.template, told.iso.sha256, told.power) == (iso_id, "1" * 64, "running")
    cloud.run(names.STOP_VM, vm_id=vm.id)
    cloud.run(names.DETACH_ISO, vm_id=vm.id)
    told = host_of(cloud).domains[vm.id]
    assert (told.iso, told.power, cloud.row(Vm, vm.id).iso_id) == (None, "stopped", None)


def test_an_iso_that_is_gone_meanwhile_stays_out(cloud: SmallCloud) -> None:
    vm, iso_id = town(cloud).vm, new_iso(cloud)
    cloud.run(names.DELETE_TEMPLATE, template_id=iso_id)
    with pytest.raises(StepFailed, match="ISO cd was deleted meanwhile"):
        cloud.run(names.ATTACH_ISO, vm_id=vm.id, iso_id=iso_id)
    assert cloud.row(Vm, vm.id).iso_id is None


def test_a_vm_installed_from_an_iso_has_a_blank_root_disk_and_the_iso(cloud: SmallCloud) -> None:
    iso_id, network = new_iso(cloud), cloud.new_network()
    offering = cloud.add(DiskOffering(name="blank", display_text="blank", disk_bytes=2 * GIB))
    with cloud.runtime.database.reading() as session:
        iso = session.get_one(Template, iso_id)
    cloud.template_id = iso.id
    with pytest.raises(ParameterError, match="brings no root disk"):
        cloud.new_vm(network)
    vm = cloud.new_vm(network, disk_offering=offering)
    cloud.run(names.DEPLOY_VM, vm_id=vm.id)
    told = host_of(cloud).domains[vm.id]
    assert [(disk.bytes, disk.base) for disk in told.volumes] == [(2 * GIB, None)]
    assert told.iso.template == iso_id
    assert (root_of(cloud, vm).kind, cloud.row(Vm, vm.id).template_id) == ("ROOT", iso_id)
