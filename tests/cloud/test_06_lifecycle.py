"""A VM's life: stop, start, reboot, volumes, destroy, recover, expunge."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.cloud.cloud import HOME, Cloud, download
from tests.cloud.tenant import Tenant
from tests.netns.topology import eventually

pytestmark = pytest.mark.cloud


def state(cloud: Cloud, vm_id: str) -> str:
    return str(cloud.one("listVirtualMachines", "virtualmachine", id=vm_id)["state"])


def test_stop_start_reboot(cloud: Cloud, tenant: Tenant) -> None:
    vm, guest = tenant.vms["web2"], tenant.guest("web2")
    assert cloud.job(cloud.api.stopVirtualMachine(id=vm["id"]))["state"] == "Stopped"
    assert guest.ssh("true", check=False, timeout=30).returncode != 0
    assert cloud.job(cloud.api.startVirtualMachine(id=vm["id"]))["state"] == "Running"
    guest.wait()
    boot = guest.ssh("cat /proc/sys/kernel/random/boot_id").stdout
    assert cloud.job(cloud.api.rebootVirtualMachine(id=vm["id"]))["state"] == "Running"
    eventually(
        lambda: (
            (again := guest.ssh("cat /proc/sys/kernel/random/boot_id", check=False)).returncode == 0
            and again.stdout != boot
        ),
        "a new boot id after the reboot",
        120,
    )
    shown = guest.ssh("/sbin/ip -4 addr").stdout
    assert tenant.address("web2") in shown, "the address stays"


def test_volume_is_attached_detached_and_extracted(cloud: Cloud, tenant: Tenant, tmp_path: Path) -> None:
    offering = cloud.one("listDiskOfferings", "diskoffering", name="Custom")
    volume = cloud.job(
        cloud.api.createVolume(name="data", diskofferingid=offering["id"], size=1, zoneid=tenant.zone["id"])
    )
    vm = tenant.vms["web1"]
    attached = cloud.job(cloud.api.attachVolume(id=volume["id"], virtualmachineid=vm["id"]))
    assert attached["virtualmachineid"] == vm["id"]
    eventually(
        lambda: f"{1024 * 1024}" in tenant.guest("web1").ssh("cat /proc/partitions").stdout,
        "the guest sees a disk of 1 GiB",
        30,
    )
    detached = cloud.job(cloud.api.detachVolume(id=volume["id"]))
    assert "virtualmachineid" not in detached
    started = cloud.api.extractVolume(id=volume["id"], zoneid=tenant.zone["id"], mode="HTTP_DOWNLOAD")
    download(cloud, cloud.job(started)["url"], tmp_path / "data.qcow2")
    shown = json.loads(
        subprocess.run(
            ["qemu-img", "info", "--output=json", "-f", "qcow2", str(tmp_path / "data.qcow2")],
            capture_output=True,
            check=True,
        ).stdout
    )
    assert (shown["format"], shown["virtual-size"]) == ("qcow2", 1 << 30)
    cloud.api.deleteVolume(id=volume["id"])
    eventually(lambda: not list((HOME / "pools").rglob(f"*{volume['id']}*")), "the volume's file is gone", 30)


def test_destroy_recover_expunge(cloud: Cloud, tenant: Tenant) -> None:
    vm = cloud.job(tenant.deploy("shortlived", keypair=None, userdata=None))
    assert cloud.job(cloud.api.destroyVirtualMachine(id=vm["id"]))["state"] == "Destroyed"
    assert cloud.api.recoverVirtualMachine(id=vm["id"])["virtualmachine"]["state"] == "Stopped"
    assert cloud.job(cloud.api.startVirtualMachine(id=vm["id"]))["state"] == "Running"
    cloud.job(cloud.api.destroyVirtualMachine(id=vm["id"], expunge=True))
    assert cloud.api.listVirtualMachines(id=tenant.vms["web1"]["id"])["count"] == 1
    names = [item["name"] for item in cloud.api.listVirtualMachines()["virtualmachine"]]
    assert "shortlived" not in names
    eventually(lambda: not list(HOME.rglob(f"*{vm['id']}*.qcow2")), "its disk is gone", 30)


def test_wrong_state_is_refused_in_words(cloud: Cloud, tenant: Tenant) -> None:
    with pytest.raises(Exception, match="only a Stopped one can be started") as refused:
        cloud.api.startVirtualMachine(id=tenant.vms["web1"]["id"])
    assert getattr(refused.value, "error", {})["errorcode"] == 431
    assert state(cloud, tenant.vms["web1"]["id"]) == "Running"
