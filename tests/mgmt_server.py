"""A whole management server in a process of its own, on loopback, with a simulated host to manage."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
from cs import CloudStack

from mgmt.bootstrap import PASSWORD_FILE
from mgmt.config import default_config, save_config

START_SECONDS = 60
STOP_SECONDS = 30
TRAFFIC = {"Public": "pileus-public", "Guest": "cloud0", "Management": "pileus-mgmt"}


@dataclass
class ManagementServer:
    """Where it is, and how to get in."""

    address: str
    password: str
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.address.rpartition(":")[2])

    def signal(self, number: int) -> None:
        """Send a signal to all its processes."""
        os.killpg(self.process.pid, number)

    @property
    def endpoint(self) -> str:
        """URL of the API."""
        return f"{self.address}/client/api"

    def keys(self) -> tuple[str, str]:
        """Fresh keys of `admin`, got as a user gets them: by logging in."""
        with httpx.Client(trust_env=False, timeout=30) as http:
            form = {"username": "admin", "password": self.password, "response": "json"}
            login = http.post(self.endpoint, data={"command": "login", **form}).json()["loginresponse"]
            call = {"command": "registerUserKeys", "id": login["userid"], "sessionkey": login["sessionkey"]}
            answer = http.post(self.endpoint, data={**call, "response": "json"}).json()
        keys = answer["registeruserkeysresponse"]["userkeys"]
        return keys["apikey"], keys["secretkey"]

    def client(self) -> CloudStack:
        """The stock client with these keys."""
        key, secret = self.keys()
        return CloudStack(
            endpoint=self.endpoint, key=key, secret=secret, poll_interval=0.2, job_timeout=60, timeout=30
        )


@contextmanager
def run_server(home: Path, **settings: Any) -> Iterator[ManagementServer]:
    """Start `python -m mgmt.server` on a free port, with its store in `home`; stop it in the end.

    `settings` are those of `mgmt.json`.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    base = default_config(home)
    pki = home / "mgmt" / "pki"
    settings = {"listen_port": port, "pki_dir": pki, "simulated_hosts": True, **settings}
    save_config(home, msgspec.structs.replace(base, **settings))
    log = home / "server.log"
    argv = [sys.executable, "-m", "mgmt.server", "--home", str(home)]
    with log.open("wb") as output:
        process = subprocess.Popen(argv, stdout=output, stderr=output, start_new_session=True)
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_until_it_answers(address, process, log)
            file = home / "mgmt" / PASSWORD_FILE
            password = file.read_text().strip() if file.exists() else ""
            yield ManagementServer(address, password, log, process)
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)


def _wait_until_it_answers(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        try:
            httpx.get(address, trust_env=False)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"the server does not answer:\n{log.read_text()}")


def eventually(look: Callable[[], Any], seconds: float = 60) -> Any:
    """What `look` returns once it is true."""
    until = time.monotonic() + seconds
    while True:
        seen = look()
        if seen:
            return seen
        assert time.monotonic() < until, f"still {seen!r} after {seconds} s"
        time.sleep(0.2)


def build_zone(cloud: CloudStack) -> str:
    """A zone with one simulated host, enabled; its id."""
    zone: str = cloud.createZone(
        name="zone1", networktype="Advanced", dns1="9.9.9.9", internaldns1="9.9.9.9"
    )["zone"]["id"]
    created = cloud.createPhysicalNetwork(zoneid=zone, name="physical1", fetch_result=True)
    physical = created["physicalnetwork"]["id"]
    for kind, label in TRAFFIC.items():
        cloud.addTrafficType(
            physicalnetworkid=physical, traffictype=kind, kvmnetworklabel=label, fetch_result=True
        )
    cloud.updatePhysicalNetwork(id=physical, state="Enabled", fetch_result=True)
    mask = {"netmask": "255.255.255.0", "zoneid": zone}
    management = {"gateway": "172.31.240.1", "startip": "172.31.240.10", "endip": "172.31.240.99"}
    public = {"gateway": "172.31.241.1", "startip": "172.31.241.10", "endip": "172.31.241.99"}
    pod = cloud.createPod(name="pod1", **mask, **management)["pod"]["id"]
    cloud.createVlanIpRange(physicalnetworkid=physical, vlan="untagged", **mask, **public)
    place = {"zoneid": zone, "podid": pod}
    (cluster,) = cloud.addCluster(clustername="cluster1", hypervisor="Simulator", **place)["cluster"]
    place["clusterid"] = cluster["id"]
    (host,) = cloud.addHost(hypervisor="Simulator", url="https://172.31.240.1:8445", **place)["host"]
    url = f"file://{host['name']}/primary"
    cloud.createStoragePool(name="primary", scope="HOST", hostid=host["id"], url=url, **place)
    cloud.addImageStore(zoneid=zone, name="secondary", provider="Pileus")
    cloud.updateZone(id=zone, allocationstate="Enabled")
    return zone


def ready_template(cloud: CloudStack, zone: str) -> str:
    """A template that the simulated storage VM has; its id."""
    os_type = cloud.listOsTypes(description="Other Linux (64-bit)")["ostype"][0]["id"]
    (made,) = cloud.registerTemplate(
        name="tiny",
        displaytext="tiny",
        format="QCOW2",
        hypervisor="KVM",
        ostypeid=os_type,
        url="http://172.31.240.1/tiny.qcow2",
        checksum=f"sha256:{'0' * 64}",
        zoneid=zone,
        passwordenabled=True,
    )["template"]

    def is_ready() -> bool:
        (template,) = cloud.listTemplates(templatefilter="self", id=made["id"])["template"]
        return bool(template["isready"])

    eventually(is_ready)
    return str(made["id"])


def deploy(
    cloud: CloudStack, zone: str, template: str, network: str, name: str, **more: Any
) -> dict[str, Any]:
    """A running VM in a network."""
    (offering,) = cloud.listServiceOfferings(name="Tiny Instance")["serviceoffering"]
    made: dict[str, Any] = cloud.deployVirtualMachine(
        name=name,
        zoneid=zone,
        templateid=template,
        serviceofferingid=offering["id"],
        networkids=[network],
        fetch_result=True,
        **more,
    )["virtualmachine"]
    return made


def create_network(cloud: CloudStack, zone: str, name: str) -> str:
    """An isolated network; its id."""
    wanted = "DefaultIsolatedNetworkOfferingWithSourceNatService"
    (offering,) = cloud.listNetworkOfferings(name=wanted)["networkoffering"]
    made = cloud.createNetwork(name=name, displaytext=name, zoneid=zone, networkofferingid=offering["id"])
    return str(made["network"]["id"])
