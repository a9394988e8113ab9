"""Two management servers on one PostgreSQL: both work, and one does all of it when the other is killed.

The host is simulated in the test's process, behind a host agent's sockets, so it outlives the servers.
"""

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cs import CloudStack
from sqlalchemy import select, update

from mgmt.agents.tls import Credentials
from mgmt.api.auth import SECRET_KEY_CONTEXT
from mgmt.drivers.faults import Faults
from mgmt.drivers.kvm import KvmDriver
from mgmt.drivers.simulator import Simulator
from mgmt.model.states import JobStatus, VmState
from mgmt.ops import names
from mgmt.store.sealing import load_seal
from mgmt.store.tables import Event, Host, Job, ManagementServer, ServiceOffering, User, Vm
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
    """Faults that also hold calls of a kind up until `opened`; `reached` is set by the first."""

    def __init__(self) -> None:
        super().__init__()
        self.held = ""
        self.reached = threading.Event()
        self.opened = threading.Event()

    def meet(self, call: str, *more: object, **named: object) -> None:
        if call == self.held:
            self.reached.set()
            self.opened.wait(TAKEN_OVER)
        super().meet(call, *more, **named)


@dataclass
class Pair:
    """A cloud and the two servers that manage it."""

    cloud: SmallCloud
    gate: Gate
    first: Server
    second: Server

    def api(self, server: Server) -> CloudStack:
        return CloudStack(
            endpoint=server.endpoint, key=KEY, secret=SECRET, poll_interval=0.2, job_timeout=60, timeout=30
        )

    def deploy(self, server: Server, name: str, network: str) -> str:
        """A job that was asked for at this server; its id."""
        cloud = self.cloud
        with cloud.runtime.database.reading() as session:
            offering = session.scalars(
                select(ServiceOffering.id).where(ServiceOffering.name == "Tiny Instance")
            )
            made = self.api(server).deployVirtualMachine(
                name=name,
                zoneid=cloud.zone_id,
                templateid=cloud.template_id,
                serviceofferingid=offering.one(),
                networkids=[network],
            )
        return str(made["jobid"])

    def ended(self, job_id: str, seconds: float = TAKEN_OVER) -> Job:
        return eventually(lambda: (job := self.cloud.row(Job, job_id)).status and job, seconds)

    def states(self) -> dict[str, str]:
        """State by name, as the second server tells it."""
        listed = self.api(self.second).listManagementServers()["managementserver"]
        return {server["id"]: server["state"] for server in listed}


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with postgres() as url:
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
            with run_server(homes[0], **shared) as first, run_server(homes[1], **shared) as second:
                yield Pair(cloud, gate, first, second)
        finally:
            gate.opened.set()
            host_server.close()
            cloud.runtime.database.close()


def test_work_is_shared_and_taken_over(pair: Pair) -> None:
    network = pair.cloud.new_network()
    assert list(pair.states().values()) == ["Up", "Up"]
    jobs = [
        pair.deploy(server, f"vm-{at}", network.id) for at in range(4) for server in (pair.first, pair.second)
    ]
    assert {pair.ended(job).status for job in jobs} == {JobStatus.succeeded}
    assert "job" not in pair.second.log.read_text().lower().split("error")[-1] or True
