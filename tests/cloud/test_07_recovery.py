"""What dies comes back by itself: a router with its rules and address, also without mgmt."""

import hashlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.cloud import INTERNET, Cloud, http_status, qemu_pid
from tests.cloud.tenant import Tenant
from tests.netns.topology import eventually
from tests.web import WebServer

pytestmark = pytest.mark.cloud
IMAGE = "images/tiny/current/disk.qcow2"
PORT = 8066
#: What is said of a download that has not brought anything yet.
BEGINNING = ("", "0% Downloaded")


def running_router(cloud: Cloud, tenant: Tenant) -> dict[str, Any] | None:
    router = cloud.one("listRouters", "router", networkid=tenant.network["id"], listall=True)
    return router if router["state"] == "Running" else None


def ended(template: dict[str, Any]) -> dict[str, Any] | None:
    """A template that is no longer on its way: ready, or failed for a reason."""
    return template if template["isready"] or template["status"].startswith("Download failed") else None


@pytest.fixture(scope="module")
def cut_off(cloud: Cloud, tenant: Tenant) -> Iterator[dict[str, Any]]:
    """A template on its way into the storage VM, which is killed: it boots again beside the router."""
    content = (Path(os.environ.get("PILEUS_CACHE", "/var/cache/pileus")) / IMAGE).read_bytes()
    with cloud.internet.entered():
        server = WebServer(socket.create_server(("0.0.0.0", PORT)))  # noqa: S104 (in its own namespace)
    server.files["tiny.qcow2"] = content
    with cloud.machine.entered():
        digest = hashlib.sha256(content).hexdigest()
        url = f"http://{INTERNET}:{PORT}/slow/tiny.qcow2"
        template = tenant.register("cut-off", url, checksum=f"{{SHA-256}}{digest}")
        eventually(lambda: tenant.found(template)["status"] not in BEGINNING, "some percent are there", 60)
        storage = next(
            vm for vm in cloud.api.listSystemVms()["systemvm"] if vm["systemvmtype"] == "secondarystoragevm"
        )
        os.kill(qemu_pid(storage["id"]), signal.SIGKILL)
    yield template
    server.close()


def test_killed_router_comes_back_with_rules_and_address(
    cloud: Cloud, tenant: Tenant, cut_off: dict[str, Any]
) -> None:
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


def test_a_download_goes_on_after_its_storage_vm_was_killed(
    cloud: Cloud, tenant: Tenant, cut_off: dict[str, Any]
) -> None:
    # Its storage VM boots again beside the router: on a machine of two busy cores that alone takes minutes.
    found = eventually(lambda: ended(tenant.found(cut_off)), "the template has arrived", 600)
    assert found["isready"], found["status"]
    cloud.until_healthy(180)
    cloud.job(cloud.api.deleteTemplate(id=cut_off["id"]))


def test_router_serves_after_a_reboot_without_mgmt(cloud: Cloud, tenant: Tenant) -> None:
    """A warm reset; nobody pushes a document: its last good generation is enough."""
    url = f"http://{tenant.source_nat['ipaddress']}:8082/"
    router = cloud.one("listRouters", "router", networkid=tenant.network["id"], listall=True)
    cloud.stop_daemon("pileus-mgmt")
    try:
        cloud.virsh("reset", router["id"])
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
