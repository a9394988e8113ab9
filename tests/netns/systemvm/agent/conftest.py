"""A real agent: its own process in a machine of namespaces, mutual TLS on its link-local address."""

import os
import ssl
import sys
from pathlib import Path
from subprocess import Popen
from typing import Any

import httpx
import msgspec
import pytest

from systemvm.spec import codec
from systemvm.spec.bootstrap import CONTROL_LINK, MGMT_NAME, Bootstrap, BootstrapNic
from systemvm.spec.types import Purpose, Role
from tests.netns.topology import Machine, Topology, eventually
from tests.pki import Authority, Pair

MACHINE = "0f8fad5b-d9cb-469f-a165-70867728950e"
MAC = "0e:00:a9:fe:00:05"
ADDRESS = "169.254.3.5"
SERVER_NAME = "r-4-vm.pileus.internal"


class Agent:
    """An agent that runs in `machine`, and a host in `host` that has mgmt's credentials."""

    def __init__(self, machine: Machine, host: Machine, folder: Path) -> None:
        self.machine, self.host, self.folder = machine, host, folder
        self.servers, self.clients = Authority("servers"), Authority("clients")
        self.server_ca = folder / "servers.crt"
        self.server_ca.write_text(self.servers.pem)
        own = self.servers.issue(SERVER_NAME)
        self.bootstrap = Bootstrap(
            machine=MACHINE,
            name="r-4-vm",
            role=Role.router,
            nics=(BootstrapNic(mac=MAC, name=CONTROL_LINK, purpose=Purpose.linklocal),),
            linklocal_address=f"{ADDRESS}/16",
            certificate=own.certificate,
            key=own.key,
            client_ca=self.clients.pem,
        )
        self.mgmt = self.clients.issue(MGMT_NAME)
        self._process: Popen[str] | None = None

    def bring(self, own: Pair) -> None:
        """A new config disk, with this certificate, for the next start."""
        self.bootstrap = msgspec.structs.replace(self.bootstrap, certificate=own.certificate, key=own.key)

    def start(self, **environment: str) -> None:
        """Start the agent's process, wait until it answers."""
        self.start_alone(**environment)
        eventually(self._answers, "the agent answers", 30)

    def start_alone(self, **environment: str) -> None:
        """Start the agent's process and ask nothing of it."""
        path = self.folder / "machine.json"
        path.write_bytes(codec.encode(self.bootstrap))
        extra = {"PILEUS_BOOTSTRAP": str(path), "PYTHONPATH": os.getcwd(), **environment}
        self._process = self.machine.start(
            "env", *(f"{key}={value}" for key, value in extra.items()), sys.executable, "-m", "systemvm.agent"
        )

    def kill(self) -> str:
        """kill -9, the agent and its worker; what it had printed."""
        assert self._process is not None
        for pid in self.machine.pids():
            if b"systemvm.agent" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, 9)
        printed, _ = self._process.communicate()
        return printed

    def client(self, pair: Pair | None = None, **options: Any) -> httpx.Client:
        """A client on the host with these credentials, by default mgmt's; use it inside `host.entered()`."""
        context = ssl.create_default_context(cafile=str(self.server_ca))
        chosen = self.mgmt if pair is None else pair
        if chosen.certificate:
            context.load_cert_chain(*chosen.write(self.folder, "client"))
        return httpx.Client(
            base_url=f"https://{ADDRESS}:{self.bootstrap.agent_port}", verify=context, timeout=60, **options
        )

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request of mgmt."""
        with self.host.entered(), self.client() as client:
            return client.request(method, path, extensions={"sni_hostname": SERVER_NAME}, **options)

    def is_healthy(self) -> bool:
        """Whether the agent says that all works."""
        return self.request("GET", "/v1/health").status_code == 200

    def get(self, path: str) -> Any:
        """JSON of a GET that must succeed."""
        response = self.request("GET", path)
        assert response.status_code == 200, response.text
        return response.json()

    def put(self, document: dict[str, Any] | msgspec.Struct | bytes) -> httpx.Response:
        """PUT /v1/state."""
        raw = document if isinstance(document, bytes) else codec.encode(document)
        return self.request("PUT", "/v1/state", content=raw)

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"the agent ended: {self._process.communicate()[0]}")
        try:
            return self.request("GET", "/").status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture
def agent(lab: Topology, tmp_path: Path) -> Agent:
    machine, host = lab.machine("vm"), lab.machine("host")
    # The kernel's own name for the NIC is another: the agent finds it by MAC and renames it.
    lab.wire(machine, "ens3", host, "cloud0", mac_a=MAC)
    host.run("ip", "addr", "add", "169.254.0.1/16", "dev", "cloud0")
    return Agent(machine, host, tmp_path)
