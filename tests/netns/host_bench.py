"""A hypervisor host in a namespace: real agent and relay, its own libvirtd if wanted, real certificates."""

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from subprocess import Popen
from typing import Any
from uuid import uuid4

import httpx
import msgspec

from appliance.hostagent.config import HostAgentConfig, write_config
from appliance.hostagent.console_relay import CONSOLE_NAME
from appliance.launcher.libvirt import start_libvirt
from appliance.paths import Paths
from systemvm.engine.processes import Processes
from systemvm.spec.bootstrap import MGMT_NAME
from systemvm.spec.host import Bridge
from tests.netns.topology import Topology, eventually
from tests.pki import Authority

PROJECT = Path(__file__).parents[2]
ADDRESS = "172.31.240.1"
PUBLIC = "172.31.241.1"
CLOUD, MANAGEMENT, PUBLIC_BRIDGE = "cloud0", "mgmt0", "public0"


class HostBench:
    """`bench.request(…)` speaks to the agent as mgmt does; everything is gone after `close`."""

    def __init__(
        self, lab: Topology, cache: Path = Path("/var/cache/pileus"), address: str = ADDRESS
    ) -> None:
        self.address = address
        # Unix sockets lie below the home: it must be short.
        self.home = Path(tempfile.mkdtemp(prefix="pth-", dir="/tmp"))
        self.machine = lab.machine("host")
        self.paths = Paths(self.home, cache)
        self.paths.create()
        self.daemons = Processes(self.paths.daemons)
        self.host = str(uuid4())
        self.servers, self.clients = Authority("servers"), Authority("clients")
        self.mgmt_files = self.clients.issue(MGMT_NAME).write(self.paths.pki, "mgmt")
        self.console_files = self.clients.issue(CONSOLE_NAME).write(self.paths.pki, "console")
        (self.paths.pki / "servers.pem").write_text(self.servers.pem)
        (self.paths.pki / "clients.pem").write_text(self.clients.pem)
        certificate, key = self.servers.issue("host1.pileus.internal").write(self.paths.pki, "host")
        self.config = HostAgentConfig(
            host=self.host,
            name="host1",
            management_address=address,
            certificate=str(certificate),
            key=str(key),
            client_ca=str(self.paths.pki / "clients.pem"),
            pools={"primary": str(self.paths.pools / "primary")},
            pool_roots=(tempfile.gettempdir(),),
            acceleration="qemu",
            bridges=(
                Bridge(name=CLOUD, addresses=("169.254.0.1/16",)),
                Bridge(name=MANAGEMENT, addresses=(f"{address}/24",)),
                Bridge(name=PUBLIC_BRIDGE, addresses=(f"{PUBLIC}/24",)),
            ),
            stop_grace=15.0,
        )
        write_config(self.paths, self.config)
        self.agent: Popen[str] | None = None
        self.relay: Popen[str] | None = None

    def start_libvirt(self) -> None:
        with self.machine.entered():
            start_libvirt(self.paths, self.daemons, self.host)

    def start_agent(self) -> None:
        self.agent = self._start("appliance.hostagent")
        self._wait_for_port(self.config.agent_port, self.agent)

    def stop_agent(self) -> None:
        assert self.agent is not None
        self.agent.terminate()
        self.agent.communicate(timeout=30)

    def start_relay(self) -> None:
        self.relay = self._start("appliance.hostagent.relay")
        self._wait_for_port(self.config.console_relay_port, self.relay)

    def request(
        self, method: str, path: str, document: Any = None, *, files: tuple[Path, Path] | None = None
    ) -> httpx.Response:
        content = msgspec.json.encode(document) if document is not None else None
        with self.machine.entered(), self._client(files or self.mgmt_files) as client:
            return client.request(
                method, f"https://{self.address}:{self.config.agent_port}{path}", content=content
            )

    def put(self, path: str, document: Any, expected: int = 200) -> Any:
        """The answer's JSON; AssertionError with the agent's words when the status is another."""
        answer = self.request("PUT", path, document)
        assert answer.status_code == expected, f"{answer.status_code}: {answer.text}"
        return json.loads(answer.content)

    def get(self, path: str, expected: int = 200) -> Any:
        answer = self.request("GET", path)
        assert answer.status_code == expected, f"{answer.status_code}: {answer.text}"
        return json.loads(answer.content)

    def trust(self, files: tuple[Path, Path]) -> Any:
        import ssl

        context = ssl.create_default_context(cadata=self.servers.pem)
        context.load_cert_chain(*files)
        return context

    def links(self) -> set[str]:
        return {link["ifname"] for link in json.loads(self.machine.run("ip", "-j", "link").stdout)}

    def close(self) -> None:
        """The machine itself is closed by its lab, with all processes in it."""
        shutil.rmtree(self.home)

    def _client(self, files: tuple[Path, Path]) -> httpx.Client:
        transport = httpx.HTTPTransport(verify=self.trust(files), trust_env=False)
        return httpx.Client(transport=_Named(transport, "host1.pileus.internal"), timeout=150)

    def _start(self, module: str) -> Popen[str]:
        environment = (
            f"PYTHONPATH={PROJECT}",
            f"PILEUS_CACHE={self.paths.cache}",
            f"PATH={os.environ['PATH']}",
        )
        return self.machine.start("env", *environment, sys.executable, "-m", module, "--home", str(self.home))

    def _wait_for_port(self, port: int, process: Popen[str]) -> None:
        def listens() -> bool:
            if process.poll() is not None:
                raise AssertionError(process.communicate()[0])
            return self.machine.answers("bash", "-c", f"exec 3<>/dev/tcp/{self.address}/{port}")

        eventually(listens, f"port {port} listens", 30)


class _Named(httpx.BaseTransport):
    """Checks the server's certificate against the host's name, whatever address it is reached by."""

    def __init__(self, transport: httpx.BaseTransport, name: str) -> None:
        self._transport = transport
        self._name = name

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions["sni_hostname"] = self._name
        return self._transport.handle_request(request)

    def close(self) -> None:
        self._transport.close()


def wait_for_text(file: Path, text: str, seconds: float) -> float:
    """Seconds until `text` stood in `file`; AssertionError with its end otherwise."""
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        if file.exists() and text in file.read_text(errors="replace"):
            return time.monotonic() - start
        time.sleep(0.1)
    said = file.read_text(errors="replace")[-2000:] if file.exists() else "there is no such file"
    raise AssertionError(f"{text!r} did not come in {seconds} s:\n{said}")
