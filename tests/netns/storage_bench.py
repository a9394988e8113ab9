"""A storage VM with a data disk, between a host, a web server on the "internet" and a DNS server there."""

import contextlib
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import msgspec

from systemvm.services.storage.reads import read_templates
from systemvm.spec.appliances import ImageFormat, Storage, TemplateSource
from systemvm.spec.network import Interfaces, Nic
from systemvm.spec.state import State
from systemvm.spec.types import Purpose, Role
from tests.netns.putting import Installed
from tests.netns.topology import Machine, eventually
from tests.pki import Authority
from tests.tickets import Signer
from tests.web import WebServer

# A public address, as downloads require; it exists only between these namespaces.
WEB, PRIVATE_WEB, ADDRESS, PORT = "9.9.9.9", "10.66.0.9", "10.9.0.1", 8444
#: Where the storage VM serves whoever is outside.
PUBLIC = "9.9.9.2"
# The first DNS server is down: its address is there, and nothing listens.
RESOLVERS = ("9.9.9.54", "9.9.9.53")
NAMES = {"images.example": (WEB,), "rebind.example": (PRIVATE_WEB,), "both.example": (WEB, PRIVATE_WEB)}
MACS = {"eth1": "02:00:00:00:00:01", "eth2": "02:00:00:00:00:02"}
DISK_MIB = 64
DATA = "/var/lib/pileus/storage"


@dataclass
class StorageBench:
    host: Machine
    outside: Machine
    storage: Installed
    interfaces: Installed
    web: WebServer
    queries: Path
    images: dict[str, bytes]
    signer: Signer
    server_ca: Authority
    state: State
    device: str
    generation: int = field(default=1)

    def put(self, *sources: TemplateSource, **changes: Any) -> State:
        assert self.state.storage is not None
        self.generation += 1
        storage = msgspec.structs.replace(self.state.storage, templates=sources, **changes)
        state = msgspec.structs.replace(self.state, generation=self.generation, storage=storage)
        self.storage.put(state)
        return state

    def resolve_by(self, *servers: str) -> None:
        """Give the machine these DNS servers."""
        self.generation += 1
        section = msgspec.structs.replace(self.state.interfaces, resolvers=servers)
        self.interfaces.put(
            msgspec.structs.replace(self.state, generation=self.generation, interfaces=section)
        )

    def asked(self, name: str) -> int:
        """How often the DNS server was asked for a name so far."""
        lines = self.queries.read_text().splitlines()
        return sum(" query[" in line and f"] {name} from " in line for line in lines)

    def status(self, template: str) -> dict[str, Any]:
        with self.storage.machine.entered():
            listed = read_templates(self.storage.doors)
        return next((row for row in listed if row["id"] == template), {"state": "unknown"})

    def outcome(self, source: TemplateSource, **changes: Any) -> dict[str, Any]:
        """Put a template alone; its final status."""
        self.put(source, **changes)
        return self.final(source.id)

    def final(self, template: str, seconds: float = 30) -> dict[str, Any]:
        """How it ended."""

        def is_final() -> bool:
            return self.status(template)["state"] in ("ready", "failed")

        eventually(is_final, f"{template} is done", seconds)
        return self.status(template)

    def files(self, folder: str) -> list[str]:
        return sorted(self.storage.machine.run("ls", f"{DATA}/{folder}").stdout.split())

    def get(self, template: str, token: str = "", **headers: str) -> httpx.Response:
        """What a host gets."""
        return self.ask("GET", f"templates/{template}", token, headers)

    def upload(self, template: str, body: Any, token: str, **headers: str) -> httpx.Response:
        """What a host is told that sends something."""
        return self.ask("PUT", f"uploads/{template}", token, headers, body)

    def upload_cut(self, template: str, body: bytes, token: str, length: int) -> None:
        """Announce `length` bytes and go away after `body`, once the server has begun to write."""
        context = ssl.create_default_context(cadata=self.server_ca.pem)
        head = f"PUT /v1/uploads/{template}?ticket={token} HTTP/1.1\r\nHost: storage\r\n"
        with (
            self.host.entered(),
            socket.create_connection((ADDRESS, PORT)) as plain,
            context.wrap_socket(plain, server_hostname="storage.pileus.internal") as tls,
        ):
            tls.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode() + body)
            eventually(lambda: self.files("uploads") == [f"{template}.part"], "it is being written", 10)

    def public(self, method: str, path: str, **more: Any) -> httpx.Response:
        """What somebody outside gets."""
        context = ssl.create_default_context(cadata=self.server_ca.pem)
        with self.outside.entered(), httpx.Client(verify=context, base_url=f"https://{PUBLIC}") as client:
            return client.request(method, path, **more)

    def ask(
        self, method: str, path: str, token: str, headers: dict[str, str], body: Any = None
    ) -> httpx.Response:
        context = ssl.create_default_context(cadata=self.server_ca.pem)
        with self.host.entered(), httpx.Client(verify=context) as client:
            return client.request(
                method,
                f"https://{ADDRESS}:{PORT}/v1/{path}",
                params={"ticket": token} if token else {},
                headers=headers,
                content=body,
                extensions={"sni_hostname": "storage.pileus.internal"},
            )


def source(
    path: str, *, host: str = WEB, kind: ImageFormat = ImageFormat.qcow2, **more: Any
) -> TemplateSource:
    return TemplateSource(id=str(uuid4()), url=f"http://{host}{path}", format=kind, **more)


@contextlib.contextmanager
def loop_device(path: Path) -> Iterator[str]:
    with path.open("wb") as file:
        file.truncate(DISK_MIB << 20)
    made = subprocess.run(
        ["losetup", "--find", "--show", str(path)], capture_output=True, text=True, check=True
    )
    device = made.stdout.strip()
    try:
        yield device
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


def serve_names(machine: Machine, folder: Path) -> None:
    """A DNS server that knows `NAMES` and no other name of `.example`; it writes down what it is asked."""
    records = [f"--host-record={name},{each}" for name, known in NAMES.items() for each in known]
    machine.start(
        *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-hosts", "--no-resolv"),
        *("--user=root", "--pid-file=", "--bind-interfaces", f"--listen-address={RESOLVERS[1]}"),
        *("--except-interface=lo", "--local=/example/", *records),
        *("--log-queries", f"--log-facility={folder / 'queries'}"),
    )


def give_etc(machine: Machine) -> None:
    """A copy of /etc on top of this machine's, without its names: resolv.conf is replaced there."""
    machine.run("mount", "-t", "tmpfs", "etc", "/mnt")
    machine.run("mkdir", "/mnt/upper", "/mnt/work")
    layers = "lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work"
    machine.run("mount", "-t", "overlay", "-o", layers, "overlay", "/etc")
    machine.run("rm", "-f", "/etc/resolv.conf", "/etc/hosts")


def give_disk(machine: Machine, device: str) -> None:
    """A loop device that says it has the serial number of a data disk, as virtio disks say."""
    machine.run("mount", "-t", "tmpfs", "block", "/sys/block")
    name = Path(device).name
    machine.run("mkdir", f"/sys/block/{name}")
    machine.run("tee", f"/sys/block/{name}/serial", stdin="pileus-data\n")


def state_of(servers: Authority, signer: Signer) -> State:
    nics = (
        Nic(mac=MACS["eth1"], name="eth1", purpose=Purpose.management, addresses=(f"{ADDRESS}/24",)),
        Nic(
            mac=MACS["eth2"], name="eth2", purpose=Purpose.public, addresses=(f"{PUBLIC}/24", "10.66.0.2/24")
        ),
    )
    server = servers.issue("storage.pileus.internal", PUBLIC)
    storage = Storage(
        address=ADDRESS,
        public=PUBLIC,
        certificate=server.certificate,
        key=server.key,
        ticket_key=signer.public,
    )
    return State(
        generation=1,
        machine=str(uuid4()),
        role=Role.storage,
        hostname="s-1-vm",
        interfaces=Interfaces(nics=nics, resolvers=RESOLVERS),
        storage=storage,
    )
