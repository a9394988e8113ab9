"""VMs by document on real libvirt and QEMU: their whole life, and what must not touch them."""

import os
import signal
import stat
from uuid import uuid4

import msgspec
import pytest

from systemvm.spec.host import (
    ConfigDisk,
    DomainNic,
    Power,
    TemplatePull,
    Volume,
)
from tests.image.appliance.vm import BOOT_SECONDS, Vm
from tests.netns.host_bench import CLOUD, MANAGEMENT, HostBench, wait_for_text
from tests.netns.topology import eventually

pytestmark = pytest.mark.image


@pytest.fixture
def vm(host: HostBench) -> Vm:
    made = Vm(host, "hello=world")
    assert made.put()["state"] == "running"
    wait_for_text(made.log, "BOOTED", BOOT_SECONDS)
    return made


def test_a_whole_life(vm: Vm) -> None:
    host = vm.host
    # The document's command line reaches the kernel; its line may still be on its way.
    wait_for_text(vm.log, "hello=world", BOOT_SECONDS)
    assert "console=ttyS0" in vm.log.read_text(), "and so does the image's own"
    assert "t020000000001" in host.links()
    assert stat.S_IMODE((host.paths.vnc / f"{vm.uuid}.sock").stat().st_mode) == 0o600
    assert stat.S_IMODE((host.paths.domains / vm.uuid / "config.iso").stat().st_mode) == 0o600
    assert "LISTEN" not in host.machine.run("ss", "-Htlnp", "sport >= 5900 and sport <= 6000").stdout

    pid = vm.qemu()
    assert vm.put()["state"] == "running"
    assert vm.qemu() == pid, "the same document must change nothing"

    assert vm.put(query="?force=1", reboots=1) == {
        "id": vm.uuid, "name": f"i-2-{vm.uuid[:4]}-VM", "state": "running", "reason": "", "reboots": 1,
        "host_rebooted": False,
    }  # fmt: skip
    eventually(lambda: vm.boots() == 2, "it boots again", BOOT_SECONDS)
    assert vm.qemu() != pid

    assert vm.put(query="?force=1", reboots=1, power=Power.stopped)["state"] == "stopped"
    assert "t020000000001" not in host.links()
    assert vm.put(reboots=1)["state"] == "running"

    before = {volume["id"] for volume in host.get("/v1/volumes")}
    assert before == {vm.root.id}
    assert host.request("DELETE", f"/v1/domains/{vm.uuid}").status_code == 204
    assert host.request("DELETE", f"/v1/domains/{vm.uuid}").status_code == 204, "gone already is fine"
    assert host.request("GET", f"/v1/domains/{vm.uuid}").status_code == 404
    assert host.get("/v1/domains") == []
    assert host.get("/v1/volumes") == []
    assert "t020000000001" not in host.links()
    left = [str(path) for path in host.home.rglob(f"*{vm.uuid}*")] + list(host.paths.domains.iterdir())
    assert left == [], "a deleted VM leaves nothing"


def test_restarts_of_agent_and_libvirtd_touch_no_vm(vm: Vm) -> None:
    pid, host = vm.qemu(), vm.host
    vm.put(reboots=0)
    host.stop_agent()
    host.daemons.stop("libvirtd")
    host.start_agent()
    answer = host.request("GET", "/v1/domains")
    assert answer.status_code == 503
    assert answer.json()["code"] == "hypervisor_unavailable"
    assert host.request("GET", "/v1/health").status_code == 503
    host.start_libvirt()
    assert vm.state() == "running"
    assert host.request("GET", "/v1/health").status_code == 200
    host.daemons.stop("libvirtd")
    host.start_libvirt()
    assert vm.state() == "running", "the agent finds libvirtd again"
    assert vm.put()["state"] == "running"
    assert vm.qemu() == pid
    assert vm.boots() == 1


def test_crashes_are_seen(host: HostBench) -> None:
    killed = Vm(host)
    killed.put()
    wait_for_text(killed.log, "BOOTED", BOOT_SECONDS)
    os.kill(killed.qemu(), signal.SIGKILL)
    eventually(lambda: killed.state() == "crashed", "the killed VM is reported", 15)
    assert host.get(f"/v1/domains/{killed.uuid}")["host_rebooted"] is False
    (host.paths.domains / killed.uuid / "boot").write_text("a boot before this one")
    status = host.get(f"/v1/domains/{killed.uuid}")
    assert (status["state"], status["reason"], status["host_rebooted"]) == (
        "stopped", "its host rebooted", True
    )  # fmt: skip
    again = killed.put()
    assert (again["state"], again["host_rebooted"]) == ("running", False), "it starts again when asked"

    off = Vm(host, "poweroff.now")
    off.put(nics=())
    eventually(lambda: off.state() == "stopped", "a guest that powers off is stopped", BOOT_SECONDS)
    assert host.get(f"/v1/domains/{off.uuid}")["reason"] == "powered off from inside"


def test_volumes_and_nics_come_and_go_on_a_running_vm(vm: Vm) -> None:
    host, pid = vm.host, vm.qemu()
    data = Volume(id=str(uuid4()), pool="primary", bytes=1 << 25)
    assert host.put(f"/v1/volumes/{data.id}", data)["bytes"] == 1 << 25
    eventually(lambda: vm.virtio() > 0, "the guest counts its devices")
    count = vm.virtio()

    second = DomainNic(mac="02:00:00:00:00:02", bridge=MANAGEMENT)
    vm.put(volumes=(vm.root, data), nics=(*vm.document().nics, second))
    eventually(lambda: vm.virtio() == count + 2, "the guest sees disk and NIC", 30)
    assert "master mgmt0" in host.machine.run("ip", "link", "show", "t020000000002").stdout
    refused = host.request("DELETE", f"/v1/volumes/{data.id}")
    assert refused.status_code == 409
    assert vm.uuid in refused.json()["message"]

    bigger = Volume(id=data.id, pool="primary", bytes=1 << 26)
    assert host.put(f"/v1/volumes/{data.id}", bigger)["bytes"] == 1 << 26
    smaller = host.request("PUT", f"/v1/volumes/{data.id}", data)
    assert smaller.status_code == 422
    assert "cannot shrink" in smaller.json()["message"]

    grown = msgspec.structs.replace(vm.root, bytes=vm.root.bytes * 2)
    vm.put(volumes=(grown, bigger), nics=(DomainNic(mac=second.mac, bridge=CLOUD),))
    assert host.get(f"/v1/volumes/{vm.root.id}")["bytes"] == grown.bytes, "also a disk with a template"
    assert "master cloud0" in host.machine.run("ip", "link", "show", "t020000000002").stdout
    assert "t020000000001" not in host.links()
    vm.put(nics=())
    eventually(lambda: vm.virtio() == count - 1, "the guest sees them go", 30)
    assert vm.qemu() == pid

    assert host.request("DELETE", f"/v1/domains/{vm.uuid}").status_code == 204
    assert [volume["id"] for volume in host.get("/v1/volumes")] == [data.id], "data outlives its VM"
    assert host.request("DELETE", f"/v1/volumes/{data.id}").status_code == 204


def test_what_fails_half_way_is_removed_and_named(host: HostBench) -> None:
    vm = Vm(host)
    missing = TemplatePull(template="nothing")
    other = Volume(id=str(uuid4()), pool="primary", bytes=1 << 20, base=missing)
    answer = host.request("PUT", f"/v1/domains/{vm.uuid}", vm.document(volumes=(vm.root, other)))
    assert answer.status_code == 500
    assert "image 'nothing' is not in" in answer.json()["message"]
    assert host.get("/v1/volumes") == [], "the first volume is gone again"
    assert host.get(f"/v1/domains/{vm.uuid}")["state"] == "failed"
    assert host.request("DELETE", f"/v1/domains/{vm.uuid}").status_code == 204
    assert host.get("/v1/domains") == []

    # QEMU itself refuses: more memory than any machine has.
    answer = host.request("PUT", f"/v1/domains/{vm.uuid}", vm.document(memory_mib=1 << 30))
    assert answer.status_code == 500
    assert "starting the VM" in answer.json()["message"]
    assert host.get("/v1/volumes") == []
    assert not (host.paths.domains / vm.uuid).exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"nics": (DomainNic(mac="02:00:00:00:00:01", bridge="nowhere"),)}, "bridge 'nowhere'"),
        ({"name": "../x"}, "VM name '../x'"),
        ({"volumes": (), "direct_boot": None}, "nothing to boot from"),
        ({"volumes": (Volume(id=str(uuid4()), pool="gold", bytes=1),)}, "no pool 'gold'"),
        ({"config_disk": ConfigDisk(label="a b", files={})}, "label 'a b'"),
        ({"config_disk": ConfigDisk(label="A", files={"../../x": ""})}, "'../../x'"),
    ],
)
def test_bad_documents_are_refused_before_anything(
    host: HostBench, changes: dict[str, object], words: str
) -> None:
    vm = Vm(host)
    answer = host.request("PUT", f"/v1/domains/{vm.uuid}", vm.document(**changes))
    assert answer.status_code == 422
    assert words in answer.json()["message"]
    assert host.get("/v1/domains") == []


def test_a_document_with_many_mistakes_gets_many_messages(host: HostBench) -> None:
    vm = Vm(host)
    document = {"id": vm.uuid, "name": "x", "power": "on", "vcpus": 0, "memory_mib": 1, "color": "red"}
    answer = host.request("PUT", f"/v1/domains/{vm.uuid}", document)
    assert answer.status_code == 422
    assert {problem["path"] for problem in answer.json()["problems"]} == {
        "power", "vcpus", "memory_mib", "color"
    }  # fmt: skip
