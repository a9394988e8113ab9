"""The bench of all storage tests, and the images that they send and fetch."""

import random
import socket
import subprocess
from collections.abc import Iterator

import msgspec
import pytest

from systemvm.services.interfaces import SERVICE as INTERFACES
from systemvm.services.storage import SERVICE
from tests.netns.putting import install
from tests.netns.storage_bench import (
    DATA,
    DISK_MIB,
    MACS,
    PRIVATE_WEB,
    RESOLVERS,
    WEB,
    StorageBench,
    give_disk,
    give_etc,
    loop_device,
    serve_names,
    state_of,
)
from tests.netns.topology import Topology, eventually
from tests.pki import Authority
from tests.tickets import Signer
from tests.web import WebServer


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("images")

    def qemu_img(*argv: str) -> None:
        subprocess.run(["qemu-img", *argv], cwd=folder, check=True, capture_output=True)

    (folder / "disk.raw").write_bytes(random.Random(7).randbytes(3 << 20) + bytes(1 << 20))  # noqa: S311
    qemu_img("convert", "-f", "raw", "-O", "qcow2", "disk.raw", "ok.qcow2")
    qemu_img("create", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", "backing.qcow2", "4M")
    qemu_img("create", "-f", "qcow2", "-o", "data_file=elsewhere.raw", "data.qcow2", "4M")
    qemu_img("create", "-f", "vmdk", "vmdk.qcow2", "4M")
    qemu_img("create", "-f", "qcow2", "huge.qcow2", "1T")
    made = {path.name: path.read_bytes() for path in folder.iterdir()}
    made["cut.qcow2"] = made["ok.qcow2"][:2000]
    made["page.qcow2"] = b"<!DOCTYPE html><html>log in first</html>"
    made["large.raw"] = bytes((DISK_MIB + 40) << 20)
    return made


@pytest.fixture(scope="module")
def bench(images: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Iterator[StorageBench]:
    folder = tmp_path_factory.mktemp("s")
    servers, signer = Authority("servers"), Signer()
    with Topology() as topology, loop_device(folder / "disk.img") as device:
        host, storage, web = (topology.machine(name) for name in ("host", "storage", "web"))
        topology.wire(host, "eth0", storage, "eth1", mac_b=MACS["eth1"])
        topology.wire(storage, "eth2", web, "eth0", mac_a=MACS["eth2"])
        host.run("ip", "addr", "add", "10.9.0.2/24", "dev", "eth0")
        for address in (WEB, PRIVATE_WEB, *RESOLVERS):
            web.run("ip", "addr", "add", f"{address}/24", "dev", "eth0")
        serve_names(web, folder)
        give_etc(storage)
        give_disk(storage, device)
        with web.entered():
            listener = socket.create_server(("0.0.0.0", 80))  # noqa: S104
        server = WebServer(listener)
        server.files |= images
        state = state_of(servers, signer)
        interfaces, installed = install(INTERFACES, storage), install(SERVICE, storage)
        interfaces.put(state)
        installed.put(state)
        eventually(lambda: not installed.unhealthy(state), "storage serves", 20)
        queries = folder / "queries"
        yield StorageBench(
            host, web, installed, interfaces, server, queries, images, signer, servers, state, device
        )
        installed.put(msgspec.structs.replace(state, storage=None))
        storage.run("umount", DATA)
        server.close()
