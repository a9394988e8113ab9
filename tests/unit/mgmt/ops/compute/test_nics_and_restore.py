"""NICs of running VMs, and reinstallation: on a simulated host, with every step made to fail once."""

import pytest
from sqlalchemy import select

from mgmt.agents.errors import AgentFailed
from mgmt.model.resources import ResourceType
from mgmt.model.states import VmState, VolumeState
from mgmt.ops import names
from mgmt.ops.compute.user_data import UserDataChoice, give_user_data
from mgmt.ops.compute.vms import add_nic
from mgmt.ops.saga import StepFailed
from mgmt.store.tables import (
    AffinityGroup,
    AffinityMember,
    Network,
    Nic,
    NicAddress,
    ResourceCount,
    Vm,
    Volume,
)
from mgmt.store.tables.base import new_id
from tests.unit.mgmt.small_cloud import SmallCloud

pytestmark = pytest.mark.unit
HOST = "172.31.240.1"


def running(cloud: SmallCloud, network: Network, name: str = "web") -> Vm:
    vm = cloud.new_vm(network, name)
    cloud.run(names.DEPLOY_VM, vm_id=vm.id)
    return cloud.row(Vm, vm.id)  # type: ignore[no-any-return]


def new_nic(cloud: SmallCloud, vm: Vm, network: Network) -> Nic:
    with cloud.runtime.database.writing() as session:
        return add_nic(session, session.get_one(Vm, vm.id), session.get_one(Network, network.id), 1)


def bridges(cloud: SmallCloud, vm: Vm) -> list[str]:
    return [nic.bridge for nic in cloud.simulator.hosts[HOST].domains[vm.id].nics]


def bridge(cloud: SmallCloud, network: Network) -> str:
    return f"brvx-{cloud.row(Network, network.id).vni}"


def leases(cloud: SmallCloud, network: Network) -> list[str]:
    return [host.address for host in cloud.document(cloud.router(network).id).dnsmasq.hosts]


def test_a_running_vm_is_plugged_into_a_new_network_and_out_again(cloud: SmallCloud) -> None:
    first, second = cloud.new_network(), cloud.new_network("second", "10.2.1.0/24")
    vm = running(cloud, first)
    nic = new_nic(cloud, vm, second)
    cloud.add(
        NicAddress(
            account_id=vm.account_id, domain_id=vm.domain_id, nic_id=nic.id, network_id=second.id,
            address="10.2.1.9",
        )
    )  # fmt: skip
    cloud.run(names.PLUG_NIC, vm_id=vm.id, nic_id=nic.id)
    assert bridges(cloud, vm) == [bridge(cloud, first), bridge(cloud, second)]
    assert leases(cloud, second) == ["10.2.1.2"]
    (lease,) = cloud.document(cloud.router(second).id).dnsmasq.hosts
    assert lease.default is False, "the way out stays the first network's router"
    cloud.run(names.UNPLUG_NIC, vm_id=vm.id, nic_id=nic.id)
    assert bridges(cloud, vm) == [bridge(cloud, first)]
    assert leases(cloud, second) == []
    assert cloud.rows(NicAddress) == []
    assert cloud.row(Vm, vm.id).reboots == 0


def test_a_stopped_vm_has_the_nic_from_its_next_start(cloud: SmallCloud) -> None:
    first, second = cloud.new_network(), cloud.new_network("second", "10.2.1.0/24")
    vm = running(cloud, first)
    cloud.run(names.STOP_VM, vm_id=vm.id)
    nic = new_nic(cloud, vm, second)
    cloud.run(names.PLUG_NIC, vm_id=vm.id, nic_id=nic.id)
    assert len(bridges(cloud, vm)) == 1
    cloud.run(names.START_VM, vm_id=vm.id)
    assert bridges(cloud, vm) == [bridge(cloud, first), bridge(cloud, second)]


def test_a_nic_that_cannot_be_plugged_is_gone_again(cloud: SmallCloud) -> None:
    first, second = cloud.new_network(), cloud.new_network("second", "10.2.1.0/24")
    vm, other = running(cloud, first), running(cloud, second, "other")
    nic = new_nic(cloud, vm, second)
    cloud.simulator.faults.fail("put_domain", AgentFailed("host host1", "no free PCI port"))
    with pytest.raises(StepFailed, match="plug the NIC in: host host1: no free PCI port"):
        cloud.run(names.PLUG_NIC, vm_id=vm.id, nic_id=nic.id)
    assert cloud.said == []
    assert cloud.row(Nic, nic.id).removed is not None
    assert bridges(cloud, vm) == [bridge(cloud, first)]
    assert leases(cloud, second) == ["10.2.1.2"]
    assert cloud.row(Vm, vm.id).state == cloud.row(Vm, other.id).state == VmState.running


def test_a_nic_that_cannot_be_unplugged_stays(cloud: SmallCloud) -> None:
    first, second = cloud.new_network(), cloud.new_network("second", "10.2.1.0/24")
    vm = running(cloud, first)
    nic = new_nic(cloud, vm, second)
    cloud.run(names.PLUG_NIC, vm_id=vm.id, nic_id=nic.id)
    cloud.simulator.faults.fail("put_domain", AgentFailed("host host1", "the guest keeps the device"))
    with pytest.raises(StepFailed, match="unplug the NIC: host host1: the guest keeps the device"):
        cloud.run(names.UNPLUG_NIC, vm_id=vm.id, nic_id=nic.id)
    assert cloud.said == []
    assert cloud.row(Nic, nic.id).removed is None
    assert bridges(cloud, vm) == [bridge(cloud, first), bridge(cloud, second)]
    assert leases(cloud, second) == ["10.2.1.2"]


def test_what_is_expunged_leaves_its_groups_and_addresses(cloud: SmallCloud) -> None:
    vm = running(cloud, cloud.new_network())
    (nic,) = [nic for nic in cloud.rows(Nic) if nic.vm_id == vm.id]
    owner = {"account_id": vm.account_id, "domain_id": vm.domain_id}
    cloud.add(NicAddress(**owner, nic_id=nic.id, network_id=nic.network_id, address="10.1.1.9"))
    group = cloud.add(AffinityGroup(**owner, name="a", type="host affinity"))
    cloud.add(AffinityMember(group_id=group.id, vm_id=vm.id))
    cloud.run(names.DESTROY_VM, vm_id=vm.id, expunge=True)
    assert cloud.rows(NicAddress) == []
    with cloud.runtime.database.reading() as session:
        assert session.scalars(select(AffinityMember)).all() == []


def test_variables_of_user_data_are_in_the_metadata(cloud: SmallCloud) -> None:
    network = cloud.new_network()
    vm = running(cloud, network)
    choice = UserDataChoice("IyE=", None, {"site": "north", "vm-id": "not yours to say"})
    with cloud.runtime.database.writing() as session:
        give_user_data(session, session.get_one(Vm, vm.id), choice)
    cloud.run(names.REFRESH_GUEST, vm_id=vm.id)
    (guest,) = cloud.document(cloud.router(network).id).metadata.guests
    assert (guest.user_data, guest.meta_data["site"]) == ("IyE=", "north")
    assert guest.meta_data["vm-id"] == vm.id


def restore(cloud: SmallCloud, vm: Vm, size: int = 0) -> str:
    volume_id = new_id()
    cloud.run(names.RESTORE_VM, vm_id=vm.id, template_id=cloud.template_id, size=size, volume_id=volume_id)
    return volume_id


def root_of(cloud: SmallCloud, vm: Vm) -> Volume:
    return next(row for row in cloud.rows(Volume) if row.vm_id == vm.id)  # type: ignore[no-any-return]


def stored(cloud: SmallCloud) -> int:
    with cloud.runtime.database.reading() as session:
        query = select(ResourceCount.used).where(
            ResourceCount.owner_id == cloud.account_id, ResourceCount.type == ResourceType.primary_storage
        )
        return session.scalar(query) or 0


@pytest.mark.parametrize("is_running", [True, False])
def test_a_restored_vm_has_a_fresh_root_disk_and_is_as_it_was(cloud: SmallCloud, is_running: bool) -> None:
    vm = running(cloud, cloud.new_network())
    if not is_running:
        cloud.run(names.STOP_VM, vm_id=vm.id)
    old, before = root_of(cloud, vm), stored(cloud)
    fresh = restore(cloud, vm, size=128 * 1024**2)
    host = cloud.simulator.hosts[HOST]
    assert [volume.id for volume in host.domains[vm.id].volumes] == [fresh]
    assert old.id not in host.volumes
    assert (root_of(cloud, vm).id, root_of(cloud, vm).state) == (fresh, VolumeState.ready)
    assert root_of(cloud, vm).device == 0
    assert cloud.row(Volume, old.id).removed is not None
    assert cloud.row(Vm, vm.id).state == (VmState.running if is_running else VmState.stopped)
    assert host.status[vm.id].state == ("running" if is_running else "stopped")
    assert stored(cloud) - before == 64 * 1024**2


def test_a_vm_that_never_ran_is_restored_on_paper(cloud: SmallCloud) -> None:
    vm = cloud.new_vm(cloud.new_network())
    old = root_of(cloud, vm)
    assert restore(cloud, vm) == root_of(cloud, vm).id != old.id
    cloud.run(names.DEPLOY_VM, vm_id=vm.id)
    assert cloud.row(Vm, vm.id).state == VmState.running


@pytest.mark.parametrize("is_running", [True, False])
@pytest.mark.parametrize("failing", ["put_domain", "machine.put_state", "delete_volume"])
def test_a_restore_that_fails_gives_the_old_root_disk_back(
    cloud: SmallCloud, is_running: bool, failing: str
) -> None:
    vm = running(cloud, cloud.new_network())
    if not is_running:
        cloud.run(names.STOP_VM, vm_id=vm.id)
    old, before = root_of(cloud, vm), stored(cloud)
    cloud.simulator.faults.fail(failing, AgentFailed("host host1", "disk full"))
    with pytest.raises(StepFailed, match="disk full"):
        restore(cloud, vm, size=128 * 1024**2)
    assert cloud.said == []
    assert root_of(cloud, vm).id == old.id
    host = cloud.simulator.hosts[HOST]
    assert [volume.id for volume in host.domains[vm.id].volumes] == [old.id]
    assert set(host.volumes) == {volume.id for volume in cloud.rows(Volume)}
    assert cloud.row(Vm, vm.id).state == (VmState.running if is_running else VmState.stopped)
    assert host.status[vm.id].state == ("running" if is_running else "stopped")
    assert stored(cloud) == before
