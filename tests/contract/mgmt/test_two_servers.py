"""Two management servers on one PostgreSQL: both work, and one does all of it when the other is killed.

The host is simulated in the test's process, behind a host agent's sockets, so it outlives the servers.
"""

import signal
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cs import CloudStack
from sqlalchemy import text, update

from mgmt.agents.tls import Credentials
from mgmt.api.auth import SECRET_KEY_CONTEXT
from mgmt.drivers.faults import Fault, Faults
from mgmt.drivers.kvm import KvmDriver
from mgmt.drivers.simulator import Simulator
from mgmt.model.states import JobStatus, VmState
from mgmt.ops import names
from mgmt.store.database import Database
from mgmt.store.migrate import upgrade
from mgmt.store.sealing import load_seal
from mgmt.store.servers import server_id
from mgmt.store.tables import Event, Host, Job, User, Vm
from tests.contract.mgmt.simulated_host import SimulatedHostServer
from tests.mgmt_server import ManagementServer as Server
from tests.mgmt_server import eventually, run_server
from tests.postgres import postgres
from tests.unit.mgmt.small_cloud import SmallCloud, make_cloud

pytestmark = pytest.mark.contract

#: Seconds until the jobs of a killed server have ended on the other.
TAKEN_OVER = 60
KEY, SECRET = "key-of-admin", "secret-of-admin"


class Gate(Faults):
    """Faults that also hold up the next call of the name `held`, until `opened`."""

    def __init__(self) -> None:
        super().__init__()
        self.held = ""
        self.reached = threading.Event()
        self.opened = threading.Event()

    def take(self, call: str, places: Collection[str]) -> Fault | None:
        if call == self.held:
            self.held = ""
            self.reached.set()
            self.opened.wait(TAKEN_OVER)
        return super().take(call, places)


@dataclass
class Pair:
    """A cloud with a VM, and the two servers that manage it."""

    cloud: SmallCloud
    gate: Gate
    first: Server
    second: Server
    vm: Vm

    def api(self, server: Server) -> CloudStack:
        return CloudStack(
            endpoint=server.endpoint, key=KEY, secret=SECRET, poll_interval=0.2, job_timeout=60, timeout=30
        )

    def start(self, server: Server, command: str) -> str:
        """A job about the VM that was asked for at this server; its id."""
        return str(getattr(self.api(server), command)(id=self.vm.id)["jobid"])

    def ended(self, job_id: str) -> Job:
        job: Job = eventually(lambda: (row := self.cloud.row(Job, job_id)).status and row, TAKEN_OVER)
        return job

    def who_runs(self, job_id: str) -> Server:
        """The server that has taken a job."""
        query = text(
            "select m.id from dbos.workflow_status w join management_server m"
            " on m.incarnation = w.executor_id where w.workflow_uuid = :job"
        )
        with self.cloud.runtime.database.reading() as session:
            found = session.scalars(query, {"job": job_id}).one()
        return next(server for server in (self.first, self.second) if server_id(server.port) == found)

    def other(self, server: Server) -> Server:
        return self.second if server is self.first else self.first

    def states(self, told_by: Server) -> dict[str, str]:
        """State by id."""
        listed = self.api(told_by).listManagementServers()["managementserver"]
        return {server["id"]: server["state"] for server in listed}

    def stop_under_way(self, number: int) -> tuple[Server, str]:
        """Start the VM, send its server a signal while the host makes the VM; that server, and the job."""
        self.gate.held = "put_domain"
        job_id = self.start(self.first, "startVirtualMachine")
        assert self.gate.reached.wait(TAKEN_OVER)
        server = self.who_runs(job_id)
        server.signal(number)
        return server, job_id


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with postgres() as url:
        tables = Database(url)
        upgrade(tables)
        tables.close()
        gate = Gate()
        cloud = make_cloud(tmp_path, url=url)
        simulator = Simulator(gate)
        host_server = SimulatedHostServer(cloud.runtime.authority, cloud.host_id, simulator, tmp_path)
        key_file = tmp_path / "seal.key"
        seal = load_seal(key_file)
        authority = cloud.runtime.authority
        cloud.simulator = simulator
        driver = KvmDriver(Credentials(authority.server_ca, authority.management_file))
        cloud.runtime = replace(cloud.runtime, drivers={"kvm": driver}, seal=seal)
        with cloud.runtime.database.writing() as session:
            at = host_server.endpoint
            place = {"address": at.address, "port": at.port, "tunnel_port": at.tunnel_port}
            session.execute(update(Host).values(driver="kvm", **place))
            keys = {"api_key": KEY, "secret_key": seal.close(SECRET, SECRET_KEY_CONTEXT)}
            session.execute(update(User).where(User.id == cloud.user_id).values(**keys))
        shared = {"database_url": url, "key_file": key_file, "pki_dir": tmp_path / "pki"}
        homes = tmp_path / "one", tmp_path / "two"
        try:
            cloud.run(names.ENSURE_SYSTEM_VMS, zone_id=cloud.zone_id)
            vm = cloud.new_vm(cloud.new_network())
            cloud.run(names.DEPLOY_VM, vm_id=vm.id)
            with run_server(homes[0], **shared) as first, run_server(homes[1], **shared) as second:
                yield Pair(cloud, gate, first, second, vm)
        finally:
            gate.opened.set()
            host_server.close()
            cloud.runtime.database.close()


def test_both_work_and_one_lives_on(pair: Pair) -> None:
    assert pair.states(pair.first) == {server_id(server.port): "Up" for server in (pair.first, pair.second)}
    workers = []
    while len({server.port for server in workers}) < 2:  # who looks first takes it: by turns, nearly
        server = (pair.first, pair.second)[len(workers) % 2]
        job_id = pair.start(server, "rebootVirtualMachine")
        assert pair.ended(job_id).status == JobStatus.succeeded
        workers.append(pair.who_runs(job_id))
        assert len(workers) < 100, "one server does all the work"

    assert pair.ended(pair.start(pair.first, "stopVirtualMachine")).status == JobStatus.succeeded
    killed, job_id = pair.stop_under_way(signal.SIGKILL)
    pair.gate.opened.set()
    job = pair.ended(job_id)
    assert (job.status, job.error_text) == (JobStatus.succeeded, None)
    left = pair.other(killed)
    assert pair.who_runs(job_id) is left
    assert pair.cloud.row(Vm, pair.vm.id).state == VmState.running
    assert pair.states(left) == {server_id(killed.port): "Down", server_id(left.port): "Up"}
    events = [
        row for row in pair.cloud.rows(Event) if row.resource_id == pair.vm.id and row.type == "VM.START"
    ]
    assert sorted(event.state for event in events) == ["Completed", "Scheduled", "Started"]

    def warned() -> bool:
        alerts = pair.api(left).listAlerts().get("alert", [])
        return any(alert["name"] == "ALERT.MANAGEMENT" for alert in alerts)

    eventually(warned, TAKEN_OVER)


def test_a_server_that_was_only_slow_changes_nothing_more(pair: Pair) -> None:
    assert pair.ended(pair.start(pair.first, "stopVirtualMachine")).status == JobStatus.succeeded
    slow, job_id = pair.stop_under_way(signal.SIGSTOP)
    left = pair.other(slow)
    assert pair.ended(job_id).status == JobStatus.succeeded
    assert pair.who_runs(job_id) is left
    pair.start(left, "stopVirtualMachine")
    eventually(lambda: pair.cloud.row(Vm, pair.vm.id).state == VmState.stopped, TAKEN_OVER)
    slow.signal(signal.SIGCONT)
    eventually(lambda: "ends itself and starts anew" in slow.log.read_text(), TAKEN_OVER)
    assert "declared dead" in slow.log.read_text()
    eventually(lambda: set(pair.states(left).values()) == {"Up"}, TAKEN_OVER)
    assert pair.cloud.row(Vm, pair.vm.id).state == VmState.stopped
