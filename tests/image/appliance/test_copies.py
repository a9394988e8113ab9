"""Copies of a running VM's disk: QEMU's own backup job, sent to the storage VM's own server."""

import sys
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from systemvm.engine.command import run
from systemvm.spec.host import CopyState, Power, VolumeCopy
from systemvm.spec.ticket import TicketPurpose
from tests.image.appliance.vm import BOOT_SECONDS, Vm
from tests.netns.host_bench import ADDRESS, HostBench, wait_for_text
from tests.netns.topology import eventually
from tests.pki import Authority
from tests.tickets import Signer

pytestmark = pytest.mark.image
NAME, PORT = "storage.pileus.internal", 8444


class StorageServer:
    """The storage VM's server process, on the host's own management address."""

    def __init__(self, host: HostBench, folder: Path) -> None:
        self.authority, self.signer, self.uploads = Authority("servers"), Signer(), folder / "data/uploads"
        own = self.authority.issue(NAME)
        for path in (folder / "data/templates", self.uploads):
            path.mkdir(parents=True)
        (folder / "server.pem").write_text(own.certificate)
        (folder / "server.key").write_text(own.key)
        (folder / "ticket.pem").write_text(self.signer.public)
        host.machine.start(
            *(
                sys.executable,
                "-m",
                "systemvm.services.storage.server",
                "--face=hosts",
                f"--listen={ADDRESS}:{PORT}",
            ),
            *(f"--folder={folder}", f"--data={folder / 'data'}"),
        )
        context = httpx.create_ssl_context(verify=False)

        def answers() -> bool:
            try:
                with host.machine.entered(), httpx.Client(verify=context) as client:
                    return client.get(f"https://{ADDRESS}:{PORT}/v1/health").status_code == 200
            except httpx.TransportError:
                return False

        eventually(answers, "the storage VM's server answers", 30)

    def copy_of(self, volume: str) -> VolumeCopy:
        copy_id = str(uuid4())
        token = self.signer.token(TicketPurpose.upload, copy_id, max_bytes=1 << 30, life=600)
        url = f"https://{ADDRESS}:{PORT}/v1/uploads/{copy_id}?ticket={token}"
        return VolumeCopy(id=copy_id, volume=volume, url=url, server_name=NAME, server_ca=self.authority.pem)


def ended(host: HostBench, copy: VolumeCopy) -> dict[str, object]:
    """Ask for a copy and wait for its end."""
    answer = host.request("PUT", f"/v1/copies/{copy.id}?wait=0", copy)
    assert answer.status_code in (200, 202), answer.text
    path, ends = f"/v1/copies/{copy.id}", (CopyState.done.value, CopyState.failed.value)
    eventually(lambda: host.get(path)["state"] in ends, "the copy ends", 120)
    found: dict[str, object] = host.get(path)
    return found


@pytest.mark.parametrize("power", [Power.running, Power.stopped])
def test_a_disk_is_copied_whole_while_its_vm_goes_on(host: HostBench, tmp_path: Path, power: Power) -> None:
    vm, storage = Vm(host), StorageServer(host, tmp_path)
    vm.put(power=Power.stopped)
    (disk,) = host.home.rglob(f"{vm.root.id}.qcow2")
    for pattern in ("11 0 1M", "22 4M 1M"):
        run(("qemu-io", "-f", "qcow2", "-c", f"write -P {pattern}", str(disk)))
    vm.put(power=power)
    if power is Power.running:
        wait_for_text(vm.log, "BOOTED", BOOT_SECONDS)
    before = vm.qemu() if power is Power.running else 0
    copy = storage.copy_of(vm.root.id)
    done = ended(host, copy)
    assert (done["state"], done["error"]) == ("done", "")
    sent = storage.uploads / copy.id
    for pattern in ("11 0 1M", "22 4M 1M", "0 8M 1M"):
        said = run(("qemu-io", "-f", "qcow2", "-c", f"read -P {pattern}", str(sent))).stdout
        assert "verification failed" not in said
    assert "backing" not in run(("qemu-img", "info", "-f", "qcow2", str(sent))).stdout
    assert sent.stat().st_size == done["size"] < 8 << 20, "what is empty takes no room"
    assert {path.name for path in disk.parent.iterdir()} == {disk.name}, "nothing of it stays on the host"
    if power is Power.running:
        assert vm.qemu() == before
    assert vm.state() == power.value
    assert host.request("DELETE", f"/v1/copies/{copy.id}").status_code == 204
    assert host.request("GET", f"/v1/copies/{copy.id}").status_code == 404
