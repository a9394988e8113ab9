"""Console proxy and storage VM as in a cloud: the published image, systemd, the agent, a document."""

import contextlib
import hashlib
import random
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest
import websocket

from images import builder
from images.builder.boot import Machine, Running, running
from images.builder.check import AgentProber
from images.builder.progress import Quiet
from images.catalog import CatalogImage
from systemvm.spec.appliances import Console, HostEndpoint, ImageFormat, Storage, TemplateSource
from systemvm.spec.network import Interfaces, Nftables, Nic
from systemvm.spec.state import State
from systemvm.spec.ticket import TicketPurpose
from systemvm.spec.types import Purpose, Role
from tests.netns.systemvm.services.console.console_bench import shake_hands
from tests.pki import Authority
from tests.tickets import Signer
from tests.vnc import Relay, firmware_screen, relay_context
from tests.web import WebServer

pytestmark = pytest.mark.image

#: The machine's second NIC, and an address beside it that leads to a server of this test.
MAC, ADDRESS, BESIDE = "02:00:00:00:09:01", "10.9.0.15", "10.9.0.100"
MACHINE = "00000000-0000-4000-8000-000000000001"
BOOT_SECONDS, APPLY_SECONDS = 180.0, 240.0


@pytest.fixture(scope="module")
def image() -> CatalogImage:
    return builder.build("systemvm", Quiet())


@contextlib.contextmanager
def booted(
    image: CatalogImage, folder: Path, role: str, *arguments: str
) -> Iterator[tuple[AgentProber, Running]]:
    """The image as a machine of `role` whose agent answers."""
    prober = AgentProber(folder)
    plain = Machine(
        disk=image.raw,
        kernel=image.kernel,
        initrd=image.initrd,
        cmdline=(image.folder / "cmdline").read_text().strip(),
        arguments=arguments,
    )
    with running(prober.equip(plain, role)) as machine:
        print(f"{role}: agent after {prober.wait_healthy(machine, BOOT_SECONDS):.1f} s")
        yield prober, machine


def nic(port: int, guest_port: int, beside: int, beside_port: int) -> tuple[str, ...]:
    """QEMU's arguments: 127.0.0.1:`port` leads to the machine, BESIDE:`beside_port` to 127.0.0.1:`beside`."""
    forward = f"hostfwd=tcp:127.0.0.1:{port}-{ADDRESS}:{guest_port}"
    back = f"guestfwd=tcp:{BESIDE}:{beside_port}-tcp:127.0.0.1:{beside}"
    return (
        *("-netdev", f"user,id=second,restrict=on,net=10.9.0.0/24,{forward},{back}"),
        *("-device", f"virtio-net-pci,netdev=second,mac={MAC},romfile="),
    )


def state_of(role: Role, **sections: Any) -> State:
    second = Nic(mac=MAC, name="eth1", purpose=Purpose.management, addresses=(f"{ADDRESS}/24",))
    return State(
        generation=1,
        machine=MACHINE,
        role=role,
        hostname="a-1-vm",
        interfaces=Interfaces(nics=(second,)),
        nftables=Nftables(),
        **sections,
    )


def put(prober: AgentProber, machine: Running, state: State) -> None:
    """As mgmt does; the whole answer is shown when it is not 200."""
    started = time.monotonic()
    with httpx.Client(verify=prober.context(), trust_env=False, timeout=APPLY_SECONDS) as client:
        answer = client.put(
            f"https://127.0.0.1:{machine.port}/v1/state",
            content=msgspec.json.encode(state),
            extensions=prober.extensions,
        )
    assert answer.status_code == 200, answer.text
    print(f"applied in {time.monotonic() - started:.1f} s")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def test_a_storage_vm_downloads_onto_its_own_disk_and_serves(image: CatalogImage, tmp_path: Path) -> None:
    servers, signer, port = Authority("servers"), Signer(), free_port()
    listener = socket.create_server(("127.0.0.1", 0))
    web = WebServer(listener)
    web.files["disk.raw"] = random.Random(5).randbytes(8 << 20)  # noqa: S311
    digest = hashlib.sha256(web.files["disk.raw"]).hexdigest()
    (tmp_path / "data.raw").touch()
    with (tmp_path / "data.raw").open("r+b") as file:
        file.truncate(2 << 30)
    disk = (
        *("-drive", f"if=none,id=data,file={tmp_path}/data.raw,format=raw"),
        *("-device", "virtio-blk-pci,drive=data,serial=pileus-data"),
    )
    server = servers.issue("storage.pileus.internal")
    template = TemplateSource(
        id=str(uuid4()), url=f"http://{BESIDE}/disk.raw", format=ImageFormat.raw, checksum=f"sha256:{digest}"
    )
    storage = Storage(
        address=ADDRESS,
        certificate=server.certificate,
        key=server.key,
        ticket_key=signer.public,
        allowed_networks=("10.9.0.0/24",),
        templates=(template,),
    )
    extra = (*nic(port, 8444, listener.getsockname()[1], 80), *disk)
    with booted(image, tmp_path, "storage", *extra) as (prober, machine):
        put(prober, machine, state_of(Role.storage, storage=storage))
        status = wait_for_template(prober, machine)
        assert (status["id"], status["state"], status["sha256"]) == (template.id, "ready", digest), status
        context = ssl.create_default_context(cadata=servers.pem)
        token = signer.token(TicketPurpose.template, template.id)
        with httpx.Client(verify=context, trust_env=False, timeout=60) as client:
            answer = client.get(
                f"https://127.0.0.1:{port}/v1/templates/{template.id}",
                params={"ticket": token},
                extensions={"sni_hostname": "storage.pileus.internal"},
            )
        assert hashlib.sha256(answer.content).hexdigest() == digest
        capacity = prober.get(machine, "/v1/storage/capacity")
        assert capacity["bytes"] > 1 << 30
        probes = prober.get(machine, "/v1/probes")
        assert "the data disk is mounted and writable" in str(probes)
    web.close()


def wait_for_template(prober: AgentProber, machine: Running) -> dict[str, Any]:
    deadline = time.monotonic() + 120
    while True:
        answer = prober.get(machine, "/v1/storage/templates")
        (status,) = answer["templates"] if isinstance(answer, dict) else answer
        if status["state"] in ("ready", "failed") or time.monotonic() > deadline:
            return dict(status)
        time.sleep(1)


def test_a_console_proxy_shows_a_screen(image: CatalogImage, tmp_path: Path) -> None:
    servers, clients, signer, port = Authority("servers"), Authority("clients"), Signer(), free_port()
    vm, host, host_name = str(uuid4()), str(uuid4()), "host-1.pileus.internal"
    listener = socket.create_server(("127.0.0.1", 0))
    context = relay_context(*servers.issue(host_name).write(tmp_path, "relay"), clients.pem)
    server, client = servers.issue("console.pileus.internal"), clients.issue("console.pileus.internal")
    console = Console(
        address=ADDRESS,
        certificate=server.certificate,
        key=server.key,
        ticket_key=signer.public,
        client_certificate=client.certificate,
        client_key=client.key,
        server_ca=servers.pem,
        hosts=(HostEndpoint(host=host, name=host_name, address=BESIDE, port=8447),),
    )
    with firmware_screen(tmp_path) as screen:
        relay = Relay(listener, context, signer.public, {vm: screen})
        extra = nic(port, 443, listener.getsockname()[1], 8447)
        with booted(image, tmp_path, "console", *extra) as (prober, machine):
            put(prober, machine, state_of(Role.console, console=console))
            token = signer.token(TicketPurpose.console, vm, host=host)
            opened = connect(port, token)
            assert shake_hands(opened)[0] >= 640
            opened.shutdown()  # type: ignore[no-untyped-call]
            again = connect(port, token)
            frame = again.recv_frame()  # type: ignore[no-untyped-call]
            assert struct.unpack(">H", frame.data[:2])[0] == 4403
            again.shutdown()  # type: ignore[no-untyped-call]
        relay.close()


def connect(port: int, token: str) -> websocket.WebSocket:
    opened = websocket.create_connection(
        f"wss://127.0.0.1:{port}/websockify",
        timeout=60,
        sslopt={"cert_reqs": ssl.CERT_NONE, "check_hostname": False},
    )
    opened.send_binary(token.encode())
    return opened
