"""Maintenance on a simulated cloud: system VMs leave the host, come back after it."""

import pytest

from mgmt.agents.errors import AgentFailed, AgentUnreachable
from mgmt.drivers.faults import Fault
from mgmt.ops import names
from mgmt.ops.saga import StepFailed
from mgmt.reconcile.loop import Reconciler
from mgmt.store.tables import Host, StoragePool, Vm, Volume
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


def test_guests_and_system_vms_move_to_another_host(cloud: SmallCloud) -> None:
    vm = cloud.new_vm(cloud.new_network())
    cloud.run(names.DEPLOY_VM, vm_id=vm.id)
    second = add_host(cloud)
    change_host(cloud, resource_state="PrepareForMaintenance")
    cloud.run(names.PREPARE_HOST, host_id=cloud.host_id)
    assert cloud.row(Host, cloud.host_id).resource_state == "Maintenance"
    assert {(row.kind, row.state, row.host_id) for row in cloud.rows(Vm)} == {
        (kind, "Running", second) for kind in ("user", "router", "console", "storage")
    }
    left = cloud.simulator.hosts["172.31.240.1"]
    assert (left.domains, left.volumes, left.kept) == ({}, {}, set())
    there = cloud.simulator.hosts["172.31.240.2"]
    assert {row.id for row in cloud.rows(Volume)} == set(there.volumes)
    data = next(row for row in cloud.rows(Volume) if row.name.startswith("DATA-"))
    assert data.id in there.kept, "what the storage VM has outlives it there, too"
    assert {row.state for row in cloud.rows(Volume)} == {"Ready"}


def test_a_system_vm_that_cannot_start_elsewhere_is_started_by_the_loop(cloud: SmallCloud) -> None:
    second = add_host(cloud)
    storage = next(vm for vm in cloud.rows(Vm) if vm.kind == "storage")
    fault = Fault(call="put_domain", error=AgentFailed("host2", "no memory"), place=second)
    cloud.simulator.faults.plan(fault)
    with pytest.raises(StepFailed, match="no memory"):
        cloud.run(names.MIGRATE_SYSTEM_VM, vm_id=storage.id)
    row = cloud.row(Vm, storage.id)
    assert (row.state, row.host_id, row.desired_power) == ("Stopped", None, "running")
    loop = Reconciler(cloud.runtime, monotonic=lambda: cloud.clock.now.timestamp())
    loop.tick()
    loop.wait_idle()
    loop.stop()
    row = cloud.row(Vm, storage.id)
    assert (row.state, row.host_id) == ("Running", second), "where its data is"
    with pytest.raises(StepFailed, match="is on that host already"):
        cloud.run(names.MIGRATE_SYSTEM_VM, vm_id=storage.id, host_id=second)


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
