"""What dies comes back by itself: a router with its rules and address, also without mgmt."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.cloud import HOME, Cloud, http_status
from tests.cloud.tenant import Tenant
from tests.netns.topology import eventually

pytestmark = pytest.mark.cloud


def qemu_pid(vm_id: str) -> int:
    """The QEMU process of a VM, by its uuid on the command line."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"qemu-system-x86_64") and vm_id.encode() in words:
            return int(entry.name)
    raise AssertionError(f"no QEMU process has uuid {vm_id}")


def running_router(cloud: Cloud, tenant: Tenant) -> dict[str, Any] | None:
    router = cloud.one("listRouters", "router", networkid=tenant.network["id"], listall=True)
    return router if router["state"] == "Running" else None


def test_killed_router_comes_back_with_rules_and_address(cloud: Cloud, tenant: Tenant) -> None:
    tenant.forward("web1", 8082, 80)
    tenant.allow(8082)
    url = f"http://{tenant.source_nat['ipaddress']}:8082/"
    assert http_status(cloud.internet, url) == "200"
    router = cloud.one("listRouters", "router", networkid=tenant.network["id"], listall=True)
    killed = qemu_pid(router["id"])
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: http_status(cloud.internet, url, 2) == "000", "it is really dead", 30)
    eventually(lambda: http_status(cloud.internet, url, 3) == "200", "rules and address are back", 300)
    again = eventually(lambda: running_router(cloud, tenant), "the router is Running", 60)
    assert again["publicip"] == router["publicip"]
    assert qemu_pid(router["id"]) != killed
    said = [
        event["description"] for event in cloud.api.listEvents(listall=True, pagesize=200, page=1)["event"]
    ]
    assert any(router["name"] in text for text in said), "one sentence says why"


def test_router_serves_after_a_reboot_without_mgmt(cloud: Cloud, tenant: Tenant) -> None:
    """A warm reset; nobody pushes a document: its last good generation is enough."""
    url = f"http://{tenant.source_nat['ipaddress']}:8082/"
    router = cloud.one("listRouters", "router", networkid=tenant.network["id"], listall=True)
    cloud.stop_daemon("pileus-mgmt")
    try:
        socket = HOME / "libvirt/run/libvirt-sock"
        cloud.machine.run("virsh", "-q", "-c", f"qemu+unix:///system?socket={socket}", "reset", router["id"])
        eventually(lambda: http_status(cloud.internet, url, 2) == "000", "the router went down", 30)
        eventually(lambda: http_status(cloud.internet, url, 3) == "200", "the router serves by itself", 300)
    finally:
        cloud.make("up")


def test_restarted_agents_leave_vms_alone(cloud: Cloud, tenant: Tenant) -> None:
    pids = {name: qemu_pid(vm["id"]) for name, vm in tenant.vms.items()}
    for daemon in ("pileus-hostagent", "pileus-relay", "libvirtd"):
        cloud.stop_daemon(daemon)
    cloud.make("up")
    assert {name: qemu_pid(vm["id"]) for name, vm in tenant.vms.items()} == pids
    assert tenant.guest("web1").fetch(f"http://{tenant.address('web2')}/").strip() == "web2"
