"""Maintenance on a simulated cloud: system VMs leave the host, come back after it."""

import pytest

from mgmt.agents.errors import AgentUnreachable
from mgmt.ops import names
from mgmt.ops.saga import StepFailed
from mgmt.reconcile.loop import Reconciler
from mgmt.store.tables import Host, StoragePool, Vm
from tests.unit.mgmt.small_cloud import SmallCloud, add_host

pytestmark = pytest.mark.unit


def change_host(cloud: SmallCloud, **columns: str) -> None:
    with cloud.runtime.database.writing() as session:
        for name, value in columns.items():
            setattr(session.get_one(Host, cloud.host_id), name, value)


def test_system_vms_leave_and_come_back(cloud: SmallCloud) -> None:
    change_host(cloud, resource_state="PrepareForMaintenance")
    cloud.run(names.PREPARE_HOST, host_id=cloud.host_id)
    assert cloud.row(Host, cloud.host_id).resource_state == "Maintenance"
    assert {(vm.state, vm.host_id, vm.desired_power) for vm in cloud.rows(Vm)} == {
        ("Stopped", None, "running")
    }
    loop = Reconciler(cloud.runtime, monotonic=lambda: cloud.clock.now.timestamp())
    loop.tick()
    loop.wait_idle()
    assert {vm.state for vm in cloud.rows(Vm)} != {"Running"}, "there is no other host"
    change_host(cloud, resource_state="Enabled")
    cloud.clock.sleep(60)
    loop.tick()
    loop.wait_idle()
    loop.stop()
    assert {(vm.state, vm.host_id) for vm in cloud.rows(Vm)} == {("Running", cloud.host_id)}


def test_a_host_that_cannot_be_emptied_stays_in_service(cloud: SmallCloud) -> None:
    change_host(cloud, resource_state="PrepareForMaintenance")
    cloud.simulator.faults.fail("put_domain", AgentUnreachable("host", "no answer"))
    with pytest.raises(StepFailed, match="no answer"):
        cloud.run(names.PREPARE_HOST, host_id=cloud.host_id)
    assert cloud.row(Host, cloud.host_id).resource_state == "Enabled"


def test_a_vm_without_another_host_keeps_its_own(cloud: SmallCloud) -> None:
    cloud.run(names.DEPLOY_VM, vm_id=cloud.new_vm(cloud.new_network()).id)
    change_host(cloud, resource_state="PrepareForMaintenance")
    with pytest.raises(StepFailed, match="host1 is where it runs"):
        cloud.run(names.PREPARE_HOST, host_id=cloud.host_id)
    assert cloud.row(Host, cloud.host_id).resource_state == "Enabled"
    assert {vm.state for vm in cloud.rows(Vm)} == {"Running"}


def test_guests_move_to_another_host(cloud: SmallCloud) -> None:
    vm = cloud.new_vm(cloud.new_network())
    cloud.run(names.DEPLOY_VM, vm_id=vm.id)
    second = add_host(cloud)
    change_host(cloud, resource_state="PrepareForMaintenance")
    cloud.run(names.PREPARE_HOST, host_id=cloud.host_id)
    assert cloud.row(Host, cloud.host_id).resource_state == "Maintenance"
    row = cloud.row(Vm, vm.id)
    assert (row.state, row.host_id) == ("Running", second)
    assert list(cloud.simulator.hosts["172.31.240.1"].domains) == [
        found.id for found in cloud.rows(Vm) if found.kind != "user"
    ]


def test_reconnecting_asks_the_agent(cloud: SmallCloud) -> None:
    change_host(cloud, state="Alert")
    cloud.simulator.faults.fail("info", AgentUnreachable("host", "no route"))
    with pytest.raises(StepFailed, match="does not answer") as failed:
        cloud.run(names.RECONNECT_HOST, host_id=cloud.host_id)
    assert (failed.value.code, cloud.row(Host, cloud.host_id).state) == (534, "Alert")
    cloud.run(names.RECONNECT_HOST, host_id=cloud.host_id)
    assert cloud.row(Host, cloud.host_id).state == "Up"


def test_no_vm_starts_with_a_disk_that_is_out_of_service(cloud: SmallCloud) -> None:
    vm = cloud.new_vm(cloud.new_network())
    cloud.run(names.DEPLOY_VM, vm_id=vm.id)
    cloud.run(names.STOP_VM, vm_id=vm.id)
    with cloud.runtime.database.writing() as session:
        session.get_one(StoragePool, cloud.pool_id).state = "Maintenance"
    with pytest.raises(StepFailed, match="is in storage pool primary, which is in Maintenance"):
        cloud.run(names.START_VM, vm_id=vm.id)
