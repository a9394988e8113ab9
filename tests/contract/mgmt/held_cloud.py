"""A cloud on a simulated host that lives in the test's process, so that servers of it may come and go.

What mgmt does reaches the host through a host agent's sockets; a gate may hold it up on the way.
"""

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cs import CloudStack
from sqlalchemy import update

from mgmt.agents.tls import Credentials
from mgmt.alloc.counted import correct_account
from mgmt.api.auth import SECRET_KEY_CONTEXT
from mgmt.drivers.faults import Fault, Faults
from mgmt.drivers.kvm import KvmDriver
from mgmt.drivers.simulator import Simulator
from mgmt.ops import names
from mgmt.store.database import Database
from mgmt.store.migrate import upgrade
from mgmt.store.sealing import load_seal
from mgmt.store.tables import Account, Host, Job, User, Vm
from tests.contract.mgmt.simulated_host import SimulatedHostServer
from tests.mgmt_server import ManagementServer, eventually
from tests.unit.mgmt.small_cloud import SmallCloud, make_cloud

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
class HeldCloud:
    """A cloud with a VM that runs; `settings` are what mgmt.json needs for a server of it."""

    cloud: SmallCloud
    gate: Gate
    vm: Vm
    settings: dict[str, Any]

    def api(self, server: ManagementServer) -> CloudStack:
        return CloudStack(
            endpoint=server.endpoint, key=KEY, secret=SECRET, poll_interval=0.2, job_timeout=60, timeout=30
        )

    def start(self, server: ManagementServer, command: str) -> str:
        """A job about the VM that was asked for at this server; its id."""
        return str(getattr(self.api(server), command)(id=self.vm.id)["jobid"])

    def start_and_hold(self, server: ManagementServer) -> str:
        """Start the VM, and hold the job up when it asks the host to make the VM; its id."""
        self.gate.held = "put_domain"
        job_id = self.start(server, "startVirtualMachine")
        assert self.gate.reached.wait(TAKEN_OVER)
        return job_id

    def ended(self, job_id: str) -> Job:
        job: Job = eventually(lambda: (row := self.cloud.row(Job, job_id)).status and row, TAKEN_OVER)
        return job


@contextmanager
def held_cloud(folder: Path, url: str = "") -> Iterator[HeldCloud]:
    """The cloud in `folder`, its database there or at `url`; no server runs yet."""
    url = url or f"sqlite:///{folder / 'mgmt.db'}"
    tables = Database(url)
    upgrade(tables)
    tables.close()
    gate = Gate()
    cloud = make_cloud(folder, url=url)
    host_server = SimulatedHostServer(cloud.runtime.authority, cloud.host_id, Simulator(gate), folder)
    cloud.simulator = host_server.simulator
    seal = load_seal(folder / "seal.key")
    authority = cloud.runtime.authority
    driver = KvmDriver(Credentials(authority.server_ca, authority.management_file))
    cloud.runtime = replace(cloud.runtime, drivers={"kvm": driver}, seal=seal)
    with cloud.runtime.database.writing() as session:
        at = host_server.endpoint
        place = {"address": at.address, "port": at.port, "tunnel_port": at.tunnel_port}
        session.execute(update(Host).values(driver="kvm", **place))
        keys = {"api_key": KEY, "secret_key": seal.close(SECRET, SECRET_KEY_CONTEXT)}
        session.execute(update(User).where(User.id == cloud.user_id).values(**keys))
    try:
        cloud.run(names.ENSURE_SYSTEM_VMS, zone_id=cloud.zone_id)
        vm = cloud.new_vm(cloud.new_network())
        with cloud.runtime.database.writing() as session:  # rows that no command made were not counted
            correct_account(session, session.get_one(Account, cloud.account_id))
        cloud.run(names.DEPLOY_VM, vm_id=vm.id)
        paths = {"key_file": folder / "seal.key", "pki_dir": folder / "pki"}
        yield HeldCloud(cloud, gate, vm, {"database_url": url, **paths})
    finally:
        gate.opened.set()
        host_server.close()
        cloud.runtime.database.close()
