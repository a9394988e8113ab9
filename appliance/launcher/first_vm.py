"""Deploys the first VM, so that an operator sees the whole path work: network, router, template, guest."""

import time
from typing import Any

from cs import CloudStack

from appliance.launcher.client import find, find_or_create, wait_until
from appliance.launcher.settings import Settings
from appliance.launcher.steps import Progress, StepFailed

NAME = "hello"
NETWORK = "first-network"
OFFERING = "Tiny Instance"
NETWORK_OFFERING = "DefaultIsolatedNetworkOfferingWithSourceNatService"
#: Seconds for the network's router to boot and the guest to start, on two cores without KVM.
DEADLINE = 300


def wait_for_system_vms(cloud: CloudStack, say: Progress) -> str:
    """Wait until console proxy and storage VM run and their agents are healthy."""

    def look() -> tuple[bool, str]:
        vms = cloud.listSystemVms().get("systemvm", [])
        words = ", ".join(f"{vm['name']} {vm['state']} (agent {vm.get('agentstate', '?')})" for vm in vms)
        up = [vm for vm in vms if vm["state"] == "Running" and vm.get("agentstate") == "Up"]
        return len(up) >= 2, words or "not created yet"

    wait_until("the system VMs", look, say, DEADLINE, "see `pileus status` and the serial logs it names")
    return ", ".join(vm["name"] for vm in cloud.listSystemVms()["systemvm"])


def ensure_first_vm(
    cloud: CloudStack, settings: Settings, template: dict[str, Any], say: Progress
) -> dict[str, Any]:
    """The VM `hello`, running; deployed if there is none. Raises StepFailed with the job's own words."""
    existing = _find_at_rest(cloud, say)
    if existing is not None and existing["state"] == "Running":
        return existing
    if existing is not None and existing["state"] == "Stopped":
        return _finish(cloud, cloud.startVirtualMachine(id=existing["id"]), say)
    zone = _one(cloud, "listZones", "zone", name=settings.zone)
    say("network")
    network = find_or_create(
        cloud,
        ("listNetworks", {"keyword": NETWORK}),
        (
            "createNetwork",
            {
                "name": NETWORK,
                "displaytext": "First network",
                "zoneid": zone["id"],
                "networkofferingid": _one(
                    cloud, "listNetworkOfferings", "networkoffering", name=NETWORK_OFFERING
                )["id"],
            },
        ),
        "network",
    )
    job = cloud.deployVirtualMachine(
        name=NAME,
        zoneid=zone["id"],
        templateid=template["id"],
        serviceofferingid=_one(cloud, "listServiceOfferings", "serviceoffering", name=OFFERING)["id"],
        networkids=network["id"],
    )
    return _finish(cloud, job, say)


def _find_at_rest(cloud: CloudStack, say: Progress) -> dict[str, Any] | None:
    """The VM, if there is one, once nothing is under way: after a reboot the cloud starts it by itself."""

    def look() -> tuple[bool, str]:
        found = find(cloud, "listVirtualMachines", "virtualmachine", name=NAME)
        state = found["state"] if found else "absent"
        return state not in ("Starting", "Stopping"), f"{NAME} is {state}"

    wait_until(f"VM {NAME}", look, say, DEADLINE, "see the events of the VM")
    return find(cloud, "listVirtualMachines", "virtualmachine", name=NAME)


def _finish(cloud: CloudStack, started: dict[str, Any], say: Progress) -> dict[str, Any]:
    until = time.monotonic() + DEADLINE
    while time.monotonic() < until:
        job = cloud.queryAsyncJobResult(jobid=started["jobid"])
        if job["jobstatus"] == 1:
            vm: dict[str, Any] = job["jobresult"]["virtualmachine"]
            return vm
        if job["jobstatus"] != 0:
            raise StepFailed(job["jobresult"]["errortext"], "run `pileus up` again once the reason is gone")
        say(job.get("jobstep", "working"))
        time.sleep(1)
    raise StepFailed(f"job {started['jobid']} took more than {DEADLINE} s", "see `pileus status`")


def _one(cloud: CloudStack, command: str, entity: str, **filters: Any) -> dict[str, Any]:
    found = find(cloud, command, entity, **filters)
    if found is None:
        raise StepFailed(f"{command} finds no {entity} with {filters}")
    return found
