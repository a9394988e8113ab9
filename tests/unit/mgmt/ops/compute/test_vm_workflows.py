"""VMs from deploy to expunge, on a simulated host whose router checks its documents."""

import base64
from concurrent.futures import ThreadPoolExecutor

import pytest

from mgmt.agents.errors import AgentFailed, AgentRefused, AgentUnreachable
from mgmt.alloc.counted import correct_domain
from mgmt.doctor.examine import examine
from mgmt.model.states import VmState, VolumeState
from mgmt.ops import names
from mgmt.ops.compute.passwords import reveal_password
from mgmt.ops.compute.vms import recover_vm
from mgmt.ops.saga import StepFailed
from mgmt.store.tables import Domain, Network, Nic, PublicAddress, Vm, Volume
from tests.unit.mgmt.small_cloud import SmallCloud

pytestmark = pytest.mark.unit


def deploy(cloud: SmallCloud, name: str = "web", network: Network | None = None) -> tuple[Vm, Network]:
    network = network or cloud.new_network()
    vm = cloud.new_vm(
        network, name, user_data=base64.b64encode(b"#!/bin/sh").decode(), public_keys=("k1", "k2")
    )
    cloud.run(names.DEPLOY_VM, vm_id=vm.id)
    return cloud.row(Vm, vm.id), network


def test_deploy_implements_the_network_and_starts_the_vm(cloud: SmallCloud) -> None:
    vm, network = deploy(cloud)
    assert (vm.state, vm.desired_power, vm.host_id) == (VmState.running, "running", cloud.host_id)
    router = cloud.router(network)
    assert (router.state, router.healthy) == (VmState.running, True)
    assert router.applied == router.generation
    assert cloud.row(Network, network.id).state == "Implemented"
    host = cloud.simulator.hosts["172.31.240.1"]
    assert host.status[vm.id].state == "running"
    domain = host.domains[vm.id]
    assert [nic.bridge for nic in domain.nics] == [f"brvx-{cloud.row(Network, network.id).vni}"]
    (root,) = domain.volumes
    assert root.base is not None
    assert root.base.url.startswith("https://172.31.240.10:8444/v1/templates/")
    assert {volume.state for volume in cloud.rows(Volume)} == {VolumeState.ready}


def test_the_router_knows_the_guest(cloud: SmallCloud) -> None:
    vm, network = deploy(cloud)
    state = cloud.document(cloud.router(network).id)
    (guest,) = state.metadata.guests
    (lease,) = state.dnsmasq.hosts
    assert lease.address == guest.address == "10.1.1.2"
    assert lease.hostname == "web"
    assert guest.meta_data["public-keys"] == "k1\nk2"
    assert guest.meta_data["local-hostname"] == "web"
    assert base64.b64decode(guest.user_data) == b"#!/bin/sh"
    assert guest.password.value == reveal_password(vm, cloud.runtime.seal)
    assert state.nftables.source_nat[0].public == guest.meta_data["public-ipv4"] == "172.31.241.12"
    assert state.interfaces.routes[0].gateway == "172.31.241.1"


def test_a_second_vm_shares_the_router(cloud: SmallCloud) -> None:
    _, network = deploy(cloud)
    deploy(cloud, "db", network)
    routers = [vm for vm in cloud.rows(Vm) if vm.kind == "router"]
    assert len(routers) == 1
    state = cloud.document(routers[0].id)
    assert sorted(host.address for host in state.dnsmasq.hosts) == ["10.1.1.2", "10.1.1.3"]


def test_fifty_at_once_on_one_network_all_run(cloud: SmallCloud) -> None:
    network = cloud.new_network()
    vms = [cloud.new_vm(network, f"web{number}") for number in range(50)]
    with cloud.runtime.database.writing() as session:  # rows came by the back door, uncounted
        correct_domain(session, session.get_one(Domain, cloud.domain_id))
    with ThreadPoolExecutor(max_workers=50) as pool:
        list(pool.map(lambda vm: cloud.run(names.DEPLOY_VM, vm_id=vm.id), vms))
    guests = [row for row in cloud.rows(Vm) if row.kind == "user"]
    assert [row.state for row in guests] == [VmState.running] * 50
    assert len([row for row in cloud.rows(Vm) if row.kind == "router"]) == 1
    assert len(cloud.document(cloud.router(network).id).dnsmasq.hosts) == 50
    assert examine(cloud.runtime) == []


def test_stop_start_reboot(cloud: SmallCloud) -> None:
    vm, _ = deploy(cloud)
    host = cloud.simulator.hosts["172.31.240.1"]
    cloud.run(names.STOP_VM, vm_id=vm.id)
    stopped = cloud.row(Vm, vm.id)
    assert (stopped.state, stopped.host_id, stopped.last_host_id) == (VmState.stopped, None, cloud.host_id)
    assert host.status[vm.id].state == "stopped"
    cloud.run(names.START_VM, vm_id=vm.id)
    assert cloud.row(Vm, vm.id).state == VmState.running
    cloud.run(names.REBOOT_VM, vm_id=vm.id)
    assert host.domains[vm.id].reboots == 1


def test_destroy_recover_expunge(cloud: SmallCloud) -> None:
    vm, network = deploy(cloud)
    cloud.run(names.DESTROY_VM, vm_id=vm.id)
    assert cloud.row(Vm, vm.id).state == VmState.destroyed
    with cloud.runtime.database.writing() as session:
        recover_vm(session, session.get_one(Vm, vm.id))
    cloud.run(names.START_VM, vm_id=vm.id)
    cloud.run(names.DESTROY_VM, vm_id=vm.id, expunge=True)
    assert cloud.row(Vm, vm.id).removed is not None
    assert vm.id not in cloud.simulator.hosts["172.31.240.1"].domains
    assert [nic for nic in cloud.rows(Nic) if nic.vm_id == vm.id] == []
    assert cloud.document(cloud.router(network).id).dnsmasq.hosts == ()
    again, _ = deploy(cloud, "web", network)
    assert [nic.address for nic in cloud.rows(Nic) if nic.vm_id == again.id] == ["10.1.1.2"]


def test_no_capacity_says_why_for_each_host(cloud: SmallCloud) -> None:
    with cloud.runtime.database.writing() as session:
        from mgmt.store.tables import Host

        session.get_one(Host, cloud.host_id).memory_mib = 1100
    vm = cloud.new_vm(cloud.new_network())
    with pytest.raises(
        StepFailed, match="no host with 128 MB free in zone zone1: 1 host, largest free 76 MB on host1"
    ) as failed:
        cloud.run(names.DEPLOY_VM, vm_id=vm.id)
    assert failed.value.code == 533
    assert cloud.row(Vm, vm.id).state == VmState.error


def test_a_vm_that_does_not_boot_leaves_nothing(cloud: SmallCloud) -> None:
    _, network = deploy(cloud)
    vm = cloud.new_vm(network, "bad")
    cloud.simulator.faults.fail("put_domain", AgentFailed("host host1", "making volume: disk full"))
    with pytest.raises(StepFailed, match="start the VM on host host1: host host1: making volume: disk full"):
        cloud.run(names.DEPLOY_VM, vm_id=vm.id)
    row = cloud.row(Vm, vm.id)
    assert (row.state, row.host_id) == (VmState.error, None)
    assert vm.id not in cloud.simulator.hosts["172.31.240.1"].domains
    assert [host.hostname for host in cloud.document(cloud.router(network).id).dnsmasq.hosts] == ["web"]


def test_a_router_that_does_not_come_up_is_removed_with_all_it_had(cloud: SmallCloud) -> None:
    network = cloud.new_network()
    vm = cloud.new_vm(network)
    refusal = AgentRefused("agent of r-4-VM", "no such thing")
    cloud.simulator.faults.fail("machine.put_state", refusal)
    with pytest.raises(StepFailed, match=r"configure r-.*no such thing"):
        cloud.run(names.DEPLOY_VM, vm_id=vm.id)
    assert cloud.row(Vm, vm.id).state == VmState.error
    fresh = cloud.row(Network, network.id)
    assert (fresh.state, fresh.vni) == ("Allocated", None)
    assert [row for row in cloud.rows(Vm) if row.kind == "router"] == []
    assert [row for row in cloud.rows(PublicAddress) if row.network_id] == []
    assert cloud.said == []
    second = cloud.new_vm(network, "again")
    cloud.run(names.DEPLOY_VM, vm_id=second.id)
    assert cloud.row(Vm, second.id).state == VmState.running


def test_an_agent_that_never_answers_fails_with_the_time_it_had(cloud: SmallCloud) -> None:
    silent = AgentUnreachable("agent of r-4-VM", "no answer")
    cloud.simulator.faults.fail("machine.health", silent, times=1000)
    vm = cloud.new_vm(cloud.new_network())
    with pytest.raises(StepFailed, match="did not answer within 300 s"):
        cloud.run(names.DEPLOY_VM, vm_id=vm.id)
    assert cloud.clock.slept >= 300
    assert cloud.row(Vm, vm.id).state == VmState.error


def test_a_failed_start_leaves_the_vm_stopped(cloud: SmallCloud) -> None:
    vm, _ = deploy(cloud)
    cloud.run(names.STOP_VM, vm_id=vm.id)
    cloud.simulator.hosts["172.31.240.1"].is_down = True
    with pytest.raises(StepFailed, match="no answer"):
        cloud.run(names.START_VM, vm_id=vm.id)
    cloud.simulator.hosts["172.31.240.1"].is_down = False
    row = cloud.row(Vm, vm.id)
    assert (row.state, row.host_id) in ((VmState.stopped, None), (VmState.starting, cloud.host_id))


def test_expunging_a_running_vm_is_refused_and_changes_nothing(cloud: SmallCloud) -> None:
    vm, _ = deploy(cloud)
    with pytest.raises(StepFailed, match="VM web is Running: destroy it first"):
        cloud.run(names.EXPUNGE_VM, vm_id=vm.id)
    assert cloud.row(Vm, vm.id).state == VmState.running


def test_an_expunge_that_fails_leaves_the_vm_destroyed(cloud: SmallCloud) -> None:
    vm, _ = deploy(cloud)
    cloud.run(names.DESTROY_VM, vm_id=vm.id)
    cloud.simulator.faults.fail("delete_domain", AgentFailed("host host1", "libvirt is away"))
    with pytest.raises(StepFailed, match="libvirt is away"):
        cloud.run(names.EXPUNGE_VM, vm_id=vm.id)
    assert cloud.row(Vm, vm.id).state == VmState.destroyed


def test_a_stop_that_fails_leaves_the_vm_running(cloud: SmallCloud) -> None:
    vm, _ = deploy(cloud)
    cloud.simulator.faults.fail("put_domain", AgentFailed("host host1", "libvirt is away"))
    with pytest.raises(StepFailed, match="libvirt is away"):
        cloud.run(names.STOP_VM, vm_id=vm.id)
    row = cloud.row(Vm, vm.id)
    assert (row.state, row.desired_power, row.host_id) == (VmState.running, "running", cloud.host_id)
