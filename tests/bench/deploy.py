"""Deploy to ping: one API call on a running cloud until the guest answers on its public address.

Placement, volume, router push, libvirt, the guest's own boot, DHCP, static NAT and firewall are all in it.
Baseline: the same disk booted by a bare QEMU until its web page answers. What the bench deploys, it removes.
"""

import time
from collections.abc import Iterator
from typing import Any

from cs import CloudStack
from requests import RequestException

from appliance.launcher.client import connect
from appliance.launcher.first_vm import NETWORK, OFFERING
from appliance.launcher.settings import read_settings
from appliance.launcher.steps import StepFailed
from appliance.paths import Paths
from images import catalog
from systemvm.engine.command import run
from systemvm.engine.errors import CommandError
from tests.bench import boot
from tests.bench.measurement import Finding, Measurement, Missing

DEADLINE = 300.0
POLL = 0.1
NAME = "bench"


def measure() -> Iterator[Finding]:
    """One deployment on the cloud of this machine, if one runs."""
    what = "deploy: API call to ping"
    paths = Paths.from_environment()
    settings = read_settings(paths)
    if settings is None:
        yield Missing(name=what, why="no cloud runs here; run `make up` before")
        return
    try:
        cloud = connect(paths, settings)
        network = cloud.listNetworks(keyword=NETWORK)["network"][0]
    except (StepFailed, RequestException, KeyError) as error:
        yield Missing(name=what, why=f"no cloud runs here ({error}); run `make up` before")
        return
    seconds = _deploy(cloud, network)
    yield Measurement(
        name=what,
        seconds=seconds,
        baseline="tiny in a bare QEMU, to its web page",
        baseline_seconds=boot.to_page(catalog.current("tiny")),
        note="the network's router runs already",
    )


def _deploy(cloud: CloudStack, network: dict[str, Any]) -> float:
    """Seconds from the call to the first answered ping; everything is removed again."""
    address = _finish(cloud, cloud.associateIpAddress(networkid=network["id"]))["ipaddress"]
    vm: dict[str, Any] = {}
    try:
        begun = time.monotonic()
        vm = cloud.deployVirtualMachine(
            name=f"{NAME}-{int(time.time())}",
            zoneid=network["zoneid"],
            networkids=network["id"],
            templateid=cloud.listTemplates(templatefilter="executable", name="tiny")["template"][0]["id"],
            serviceofferingid=cloud.listServiceOfferings(name=OFFERING)["serviceoffering"][0]["id"],
        )
        _finish(cloud, vm)
        cloud.enableStaticNat(ipaddressid=address["id"], virtualmachineid=vm["id"])
        rule = {"protocol": "icmp", "icmptype": -1, "icmpcode": -1, "cidrlist": "0.0.0.0/0"}
        _finish(cloud, cloud.createFirewallRule(ipaddressid=address["id"], **rule))
        _wait_ping(address["ipaddress"])
        return time.monotonic() - begun
    finally:
        if vm:
            _finish(cloud, cloud.destroyVirtualMachine(id=vm["id"], expunge=True))
        _finish(cloud, cloud.disassociateIpAddress(id=address["id"]))


def _finish(cloud: CloudStack, started: dict[str, Any]) -> dict[str, Any]:
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        job = cloud.queryAsyncJobResult(jobid=started["jobid"])
        if job["jobstatus"] == 1:
            result: dict[str, Any] = job.get("jobresult", {})
            return result
        if job["jobstatus"] == 2:
            raise RuntimeError(job["jobresult"]["errortext"])
        time.sleep(POLL)
    raise TimeoutError(f"job {started['jobid']} took more than {DEADLINE:.0f} s")


def _wait_ping(address: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        try:
            run(("ping", "-c", "1", "-W", "1", address))
            return
        except CommandError:
            time.sleep(POLL)
    raise TimeoutError(f"{address} did not answer a ping within {DEADLINE:.0f} s")
