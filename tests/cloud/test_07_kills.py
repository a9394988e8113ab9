"""What is killed under the cloud's feet: guests, libvirtd, the host agent; nobody calls for help."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cs import CloudStackApiException

from tests.cloud.cloud import Cloud, qemu_pid
from tests.cloud.tenant import Tenant
from tests.netns.topology import eventually

pytestmark = pytest.mark.cloud
#: Seconds within which the API must know that a guest is dead.
PROMISE = 10.0
PLAIN: dict[str, Any] = {"keypair": None, "userdata": None}

ENDS: dict[str, Callable[[Cloud, str], None]] = {
    "killed": lambda cloud, vm_id: os.kill(qemu_pid(vm_id), signal.SIGKILL),
    "destroyed": lambda cloud, vm_id: cloud.virsh("destroy", vm_id),
}


def vm_of(cloud: Cloud, vm_id: str) -> dict[str, Any]:
    return cloud.one("listVirtualMachines", "virtualmachine", id=vm_id)


@pytest.fixture(scope="module")
def victims(cloud: Cloud, tenant: Tenant) -> Iterator[dict[str, str]]:
    """A guest for each end; they need not have booted."""
    with cloud.machine.entered():
        jobs = {name: tenant.deploy(name, **PLAIN) for name in ENDS}
        made = {name: str(cloud.job(job)["id"]) for name, job in jobs.items()}
        yield made
        for vm_id in made.values():
            cloud.job(cloud.api.destroyVirtualMachine(id=vm_id, expunge=True))


@pytest.mark.parametrize("end", ENDS)
def test_the_state_follows_a_guest_that_ends_outside(cloud: Cloud, victims: dict[str, str], end: str) -> None:
    vm_id = victims[end]
    ENDS[end](cloud, vm_id)
    begun = time.monotonic()
    eventually(lambda: vm_of(cloud, vm_id)["state"] == "Stopped", "the API says Stopped", 6 * PROMISE)
    assert time.monotonic() - begun < PROMISE
    said = cloud.api.listEvents(resourceid=vm_id, resourcetype="VirtualMachine", listall=True)["event"]
    assert any("crashed" in event["description"] or "powered off" in event["description"] for event in said)


@pytest.mark.parametrize("daemon", ["libvirtd", "pileus-hostagent"])
def test_what_is_killed_in_a_deploy_comes_back_and_the_deploy_ends(
    cloud: Cloud, tenant: Tenant, daemon: str
) -> None:
    started = tenant.deploy(f"during-{daemon}", **PLAIN)
    begun = ("Starting", "Running")
    eventually(lambda: vm_of(cloud, started["id"])["state"] in begun, "it is being started", 60)
    killed = cloud.kill_daemon(daemon)
    eventually(lambda: cloud.daemon_pid(daemon) not in (None, killed), "another one was started", 60)
    job = cloud.ended(started)
    state = vm_of(cloud, started["id"])["state"]
    if job["jobstatus"] == 1:
        assert state == "Running"
    else:
        # Then it was undone, and says so; the same again succeeds.
        assert (state, bool(job["jobresult"]["errortext"])) == ("Error", True), job
        again = cloud.job(tenant.deploy(f"after-{daemon}", **PLAIN))
        assert again["state"] == "Running"
        cloud.job(cloud.api.destroyVirtualMachine(id=again["id"], expunge=True))
    cloud.job(cloud.api.destroyVirtualMachine(id=started["id"], expunge=True))
    with pytest.raises(CloudStackApiException, match="does not exist"):
        cloud.api.listVirtualMachines(id=started["id"])
    cloud.until_healthy()
    assert {vm_of(cloud, vm["id"])["state"] for vm in tenant.vms.values()} == {"Running"}
