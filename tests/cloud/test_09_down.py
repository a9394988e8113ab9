"""The end: down stops everything and keeps the data, up brings it back, clean leaves nothing."""

import os
from pathlib import Path

import pytest

from tests.cloud.cloud import HOME, Cloud
from tests.cloud.tenant import Tenant
from tests.netns.topology import eventually

pytestmark = pytest.mark.cloud


def processes(cloud: Cloud) -> list[str]:
    """Command lines in the cloud's network namespace, but for the keeper and this very process."""
    found = []
    for pid in cloud.machine.pids():
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except FileNotFoundError:
            continue  # it ended between the two looks
        if line and pid != os.getpid() and not line.startswith("sleep "):
            found.append(line)
    return found


def links(cloud: Cloud) -> set[str]:
    shown = cloud.machine.run("ip", "-brief", "link").stdout
    return {line.split()[0].partition("@")[0] for line in shown.splitlines()}


def running(cloud: Cloud) -> set[str]:
    shown = cloud.api.listVirtualMachines(state="Running")
    return {vm["name"] for vm in shown.get("virtualmachine", [])}


def test_down_stops_all_and_up_brings_it_back(cloud: Cloud, tenant: Tenant) -> None:
    vms = {vm["id"] for vm in cloud.api.listVirtualMachines()["virtualmachine"]}
    before = running(cloud)
    assert {"hello", *tenant.vms} & before > {"hello"}, "others than the first VM"
    cloud.make("down")
    assert not processes(cloud)
    assert links(cloud) <= {"lo", "inet0"}
    assert (HOME / "mgmt/mgmt.db").exists()
    again = cloud.make("up")
    assert "hello" in again
    assert {vm["id"] for vm in cloud.api.listVirtualMachines()["virtualmachine"]} == vms
    assert cloud.one("listVirtualMachines", "virtualmachine", name="hello")["state"] == "Running"
    eventually(lambda: running(cloud) == before, "what ran before runs again, and nothing else", 300)


def test_clean_leaves_nothing(cloud: Cloud, tmp_path: Path) -> None:
    # Images are kept out of it: another cache folder, so that the next run need not build them again.
    cloud.machine.run(
        "env", "PILEUS_DAEMONS=processes", f"PILEUS_CACHE={tmp_path}/cache",
        "make", "-C", cloud.code, "clean",
        timeout=300,
    )  # fmt: skip
    assert not processes(cloud)
    assert links(cloud) <= {"lo", "inet0"}
    assert not list(HOME.iterdir()) if HOME.exists() else True
