"""The check before publication: the built disk boots, and does what its recipe says it must.

A system VM has to answer `GET /v1/health` with 200 over mutual TLS, as mgmt would ask it: the same
authority, the same bootstrap document, the same config disk writer as in a cloud, with keys that are
thrown away. A guest has to show its log-in prompt, its picture and its web page.
"""

import dataclasses
import ssl
import tempfile
from pathlib import Path
from typing import Any

from images.builder.boot import ADDRESS, MAC, Machine, Running, running
from images.builder.errors import BootError
from images.builder.monitor import Monitor
from images.builder.recipe import Check

#: For an answer of an agent that is already up.
_ANSWER_SECONDS = 60.0
_HTTP_PORT = 80
_MACHINE = "00000000-0000-4000-8000-000000000001"


def check(wanted: Check, machine: Machine) -> float:
    """Boot the machine and wait for what its recipe wants; seconds from power-on. Raises BootError."""
    with tempfile.TemporaryDirectory(prefix="pileus-check-") as folder:
        if wanted.kind == "serial":
            with running(machine) as booted:
                return booted.wait_serial(wanted.marker, wanted.timeout_seconds)
        if wanted.kind == "guest":
            return _check_guest(wanted, machine, Monitor(Path(folder) / "monitor"))
        prober = AgentProber(Path(folder))
        with running(prober.equip(machine)) as booted:
            return prober.wait_healthy(booted, wanted.timeout_seconds)


def _check_guest(wanted: Check, machine: Machine, monitor: Monitor) -> float:
    """Serial console, network with DHCP, web server and screen of a guest; seconds until all were there."""
    arguments = (*machine.arguments, *monitor.arguments(monitor.path))
    equipped = dataclasses.replace(machine, agent_port=_HTTP_PORT, arguments=arguments)
    with running(equipped) as booted:
        booted.wait_serial(wanted.marker, wanted.timeout_seconds)
        name = wanted.marker.split()[0]
        seconds = booted.wait_http("/", f"{name}\n", wanted.timeout_seconds)
        # A screen of one colour shows nothing.
        if len(set(monitor.screen())) == 1:
            raise BootError("the guest's screen is empty; its kernel has no console on VGA")
        return seconds


class AgentProber:
    """Plays mgmt for one system VM: its authority, its bootstrap, its question."""

    def __init__(self, folder: Path) -> None:
        from mgmt.pki.authority import Authority, vm_name

        self._folder = folder
        self._authority = Authority(folder / "pki")
        self._name = vm_name(_MACHINE)

    def equip(self, machine: Machine, role: str = "router") -> Machine:
        """The machine with a config disk and the agent's port forwarded."""
        import msgspec

        from appliance.hostagent.config_disk import write_config_disk
        from systemvm.spec.bootstrap import AGENT_PORT, FILE_NAME, VOLUME_LABEL, Bootstrap, BootstrapNic
        from systemvm.spec.host import ConfigDisk
        from systemvm.spec.types import Purpose, Role

        identity = self._authority.machine_agent(_MACHINE, ADDRESS)
        document = Bootstrap(
            machine=_MACHINE,
            name="check",
            role=Role(role),
            nics=(BootstrapNic(mac=MAC, name="link0", purpose=Purpose.linklocal),),
            linklocal_address=f"{ADDRESS}/16",
            certificate=identity.certificate,
            key=identity.key,
            client_ca=self._authority.client_ca,
        )
        files = {FILE_NAME: msgspec.json.encode(document).decode()}
        disk = write_config_disk(self._folder, ConfigDisk(label=VOLUME_LABEL, files=files))
        return dataclasses.replace(machine, config_disk=disk, agent_port=AGENT_PORT)

    def wait_healthy(self, booted: Running, timeout: float) -> float:
        """Wait for the agent's 200; seconds from power-on. Raises BootError."""
        seconds, _ = booted.wait_https("/v1/health", self.context(), self._name, timeout)
        return seconds

    def get(self, booted: Running, path: str) -> Any:
        """The JSON that the healthy machine's agent answers on `path`."""
        _, answer = booted.wait_https(path, self.context(), self._name, booted.seconds() + _ANSWER_SECONDS)
        return answer.json()

    @property
    def extensions(self) -> dict[str, str]:
        """httpx request extensions: the name in the agent's certificate, not the address it is reached by."""
        return {"sni_hostname": self._name}

    def stranger(self) -> ssl.SSLContext:
        """TLS of somebody who knows the cloud's server authority, and has no certificate of it."""
        context = ssl.create_default_context(cadata=self._authority.server_ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return context

    def context(self) -> ssl.SSLContext:
        """TLS as mgmt speaks it to agents."""
        context = self.stranger()
        context.load_cert_chain(self._authority.management_file())
        return context
