"""`kill -9` in the middle of a deploy: the next management server ends it, and nothing is made twice."""

import dataclasses
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from mgmt.agents.errors import AgentFailed
from mgmt.agents.tls import Credentials
from mgmt.drivers.faults import Fault, Faults
from mgmt.drivers.kvm import KvmDriver
from mgmt.drivers.simulator import Simulator
from mgmt.jobs.protocol import new_job
from mgmt.model.states import JobStatus, VmState
from mgmt.ops import names
from mgmt.store.tables import Host, Job, Network, Nic, PublicAddress, User, Vm
from tests.contract.mgmt.simulated_host import SimulatedHostServer
from tests.unit.mgmt.small_cloud import SmallCloud, make_cloud

pytestmark = pytest.mark.contract

ROOT = Path(__file__).parents[4]


class Gate(Faults):
    """Faults that also hold one call up: the `hold_at`-th from now on, until `opened`."""

    def __init__(self) -> None:
        super().__init__()
        self.hold_at = 0
        self.reached = threading.Event()
        self.opened = threading.Event()
        self._left = threading.Lock()

    def take(self, call: str, places: Collection[str]) -> Fault | None:
        with self._left:
            self.hold_at -= 1
            is_held = self.hold_at == 0
        if is_held:
            self.reached.set()
            self.opened.wait(30)
            return None  # the client is dead; what it asked for still happens, as on a real host
        return super().take(call, places)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def cloud(tmp_path: Path, gate: Gate) -> Iterator[SmallCloud]:
    cloud = make_cloud(tmp_path)
    simulator = Simulator(gate)
    server = SimulatedHostServer(cloud.runtime.authority, cloud.host_id, simulator, tmp_path)
    with cloud.runtime.database.writing() as session:
        host = session.get_one(Host, cloud.host_id)
        host.driver, host.address = "kvm", server.endpoint.address
        host.port, host.tunnel_port = server.endpoint.port, server.endpoint.tunnel_port
    authority = cloud.runtime.authority
    driver = KvmDriver(Credentials(authority.server_ca, authority.management_file))
    cloud.simulator = simulator
    cloud.runtime = dataclasses.replace(cloud.runtime, drivers={"kvm": driver})
    cloud.run(names.ENSURE_SYSTEM_VMS, zone_id=cloud.zone_id)
    yield cloud
    server.close()
    cloud.runtime.database.close()


def _submit(cloud: SmallCloud, vm: Vm) -> str:
    with cloud.runtime.database.writing() as session:
        job = new_job(
            session,
            names.DEPLOY_VM,
            {"vm_id": vm.id},
            command="deployVirtualMachine",
            user=session.get_one(User, cloud.user_id),
            domain_id=cloud.domain_id,
            instance_type="VirtualMachine",
            instance_id=vm.id,
        )
        return job.id


def _start(folder: Path, job_id: str) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "tests.contract.mgmt.mgmt_process", str(folder), job_id]
    return subprocess.Popen(argv, cwd=ROOT)


@pytest.mark.parametrize("call", [1, 3, 5, 6])
def test_a_killed_deploy_is_ended_by_the_next_server(
    cloud: SmallCloud, gate: Gate, tmp_path: Path, call: int
) -> None:
    network = cloud.new_network()
    vm = cloud.new_vm(network)
    job_id = _submit(cloud, vm)
    gate.hold_at = call
    first = _start(tmp_path, job_id)
    assert gate.reached.wait(30), f"the deploy makes fewer than {call} calls"
    first.kill()
    first.wait(30)
    gate.opened.set()
    assert cloud.row(Job, job_id).status == JobStatus.pending
    second = _start(tmp_path, job_id)
    assert second.wait(90) == 0
    job = cloud.row(Job, job_id)
    assert (job.status, job.error_text) == (JobStatus.succeeded, None)
    assert cloud.row(Vm, vm.id).state == VmState.running
    host = cloud.simulator.hosts["127.0.0.1"]
    assert {host.status[row.id].state for row in cloud.rows(Vm)} == {"running"}
    assert sorted(row.kind for row in cloud.rows(Vm)) == ["console", "router", "storage", "user"]
    assert cloud.row(Network, network.id).state == "Implemented"
    assert len([row for row in cloud.rows(PublicAddress) if row.network_id == network.id]) == 1
    assert len([row for row in cloud.rows(Nic) if row.vm_id == vm.id]) == 1


def test_a_deploy_that_fails_after_the_kill_is_still_undone(
    cloud: SmallCloud, gate: Gate, tmp_path: Path
) -> None:
    network = cloud.new_network()
    vm = cloud.new_vm(network)
    job_id = _submit(cloud, vm)
    gate.hold_at = 2
    first = _start(tmp_path, job_id)
    assert gate.reached.wait(60)
    first.kill()
    first.wait(30)
    gate.fail("machine.put_state", AgentFailed("r", "dnsmasq: does not start"))
    gate.opened.set()
    assert _start(tmp_path, job_id).wait(90) == 0
    job = cloud.row(Job, job_id)
    assert job.status == JobStatus.failed
    assert "dnsmasq: does not start" in job.error_text
    assert cloud.row(Vm, vm.id).state == VmState.error
    assert cloud.row(Network, network.id).state == "Allocated"
    assert [row for row in cloud.rows(Vm) if row.kind == "router"] == []
    assert vm.id not in cloud.simulator.hosts["127.0.0.1"].domains
