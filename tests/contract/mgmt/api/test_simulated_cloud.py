"""The life of a cloud by the stock client: server process, durable jobs, reconcile loop, simulated host."""

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest
from cs import CloudStack, CloudStackApiException

from appliance.launcher.settings import Settings
from appliance.launcher.zone import use_resolvers
from tests.mgmt_server import build_zone, create_network, deploy, eventually, ready_template, run_server

pytestmark = pytest.mark.contract


@dataclass
class Cloud:
    """The client, and what the tests build on."""

    api: CloudStack
    zone: str
    template: str
    network: str


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with run_server(tmp_path_factory.mktemp("cloud")) as server:
        api = server.client()
        zone = build_zone(api)
        eventually(lambda: system_vms(api) == {"consoleproxy": "Running", "secondarystoragevm": "Running"})
        template = ready_template(api, zone)
        yield Cloud(api, zone, template, create_network(api, zone, "net1"))


@pytest.fixture(scope="module")
def web(cloud: Cloud) -> dict[str, Any]:
    return deploy(cloud.api, cloud.zone, cloud.template, cloud.network, "web")


def system_vms(api: CloudStack) -> dict[str, str]:
    return {vm["systemvmtype"]: vm["state"] for vm in api.listSystemVms().get("systemvm", [])}


def state_of(api: CloudStack, vm: dict[str, Any]) -> str:
    (found,) = api.listVirtualMachines(id=vm["id"])["virtualmachine"]
    return str(found["state"])


def test_a_connection_outlives_the_pauses_of_clients_that_poll(cloud: Cloud) -> None:
    """Most ask for their jobs every two seconds: were it closed then, their next question would be lost."""
    place = urlsplit(cloud.api.endpoint)
    connection = HTTPConnection(str(place.hostname), place.port, timeout=30)
    connection.request("GET", place.path)
    connection.getresponse().read()
    first = connection.sock
    readable, _, _ = select.select([first], [], [], 3)
    assert not readable, "the server has closed it"
    connection.request("GET", place.path)
    connection.getresponse().read()
    assert connection.sock is first
    connection.close()


def test_a_vm_runs_behind_its_router(cloud: Cloud, web: dict[str, Any]) -> None:
    assert web["state"] == "Running"
    assert web["password"], "its template is password enabled, and only the job's answer tells it"
    (nic,) = web["nic"]
    assert nic["ipaddress"].startswith("10.1.1.")
    (router,) = cloud.api.listRouters(networkid=cloud.network)["router"]
    assert router["state"] == "Running"
    (listed,) = cloud.api.listVirtualMachines(id=web["id"])["virtualmachine"]
    assert "password" not in listed
    (address,) = cloud.api.listPublicIpAddresses(associatednetworkid=cloud.network)["publicipaddress"]
    assert address["issourcenat"] is True
    assert router["publicip"] == address["ipaddress"]
    assert {nic["traffictype"] for nic in router["nic"]} == {"Control", "Public", "Guest"}


def test_rules_on_an_address(cloud: Cloud, web: dict[str, Any]) -> None:
    api = cloud.api
    place = {"zoneid": cloud.zone, "networkid": cloud.network}
    address = api.associateIpAddress(fetch_result=True, **place)["ipaddress"]
    on = {"ipaddressid": address["id"], "protocol": "tcp", "fetch_result": True}
    firewall = api.createFirewallRule(startport=80, endport=80, cidrlist=["0.0.0.0/0"], **on)["firewallrule"]
    forward = api.createPortForwardingRule(publicport=80, privateport=8080, virtualmachineid=web["id"], **on)[
        "portforwardingrule"
    ]
    assert (firewall["state"], forward["state"]) == ("Active", "Active")
    with pytest.raises(CloudStackApiException) as caught:
        api.createPortForwardingRule(publicport=80, privateport=81, virtualmachineid=web["id"], **on)
    assert caught.value.error["errorcode"] in (431, 537)
    api.deletePortForwardingRule(id=forward["id"], fetch_result=True)
    api.deleteFirewallRule(id=firewall["id"], fetch_result=True)
    api.disassociateIpAddress(id=address["id"], fetch_result=True)
    (left,) = api.listPublicIpAddresses(associatednetworkid=cloud.network)["publicipaddress"]
    assert left["issourcenat"] is True


def test_guests_with_a_way_out_ask_the_machines_dns_servers(cloud: Cloud) -> None:
    closed, opened = Settings(), Settings(uplink="eth0")

    def use(settings: Settings, *found: str) -> tuple[str, str, str | None]:
        (zone,) = cloud.api.listZones(id=cloud.zone)["zone"]
        words = use_resolvers(cloud.api, settings, zone, found)
        (zone,) = cloud.api.listZones(id=cloud.zone)["zone"]
        return words, zone["dns1"], zone.get("dns2")

    assert use(opened, "192.0.2.1") == ("DNS by 9.9.9.9", "9.9.9.9", None), "an operator's choice"
    cloud.api.updateZone(id=cloud.zone, dns1=closed.public_gateway)
    assert use(closed, "192.0.2.1")[1:] == (closed.public_gateway, None)
    assert "set the zone's dns1" in use(opened)[0]
    cloud.api.updateZone(id=cloud.zone, internaldns1=closed.public_gateway)
    assert use(opened, "192.0.2.1", "192.0.2.2") == ("DNS by 192.0.2.1, 192.0.2.2", "192.0.2.1", "192.0.2.2")
    (zone,) = cloud.api.listZones(id=cloud.zone)["zone"]
    assert (zone["internaldns1"], zone["internaldns2"]) == ("192.0.2.1", "192.0.2.2"), (
        "system VMs ask them too"
    )


def test_stop_start_reboot(cloud: Cloud, web: dict[str, Any]) -> None:
    for command, state in (
        ("stopVirtualMachine", "Stopped"),
        ("startVirtualMachine", "Running"),
        ("rebootVirtualMachine", "Running"),
    ):
        answer = getattr(cloud.api, command)(id=web["id"], fetch_result=True)
        assert answer["virtualmachine"]["state"] == state
        assert state_of(cloud.api, web) == state
    with pytest.raises(CloudStackApiException) as caught:
        cloud.api.startVirtualMachine(id=web["id"])
    assert caught.value.error["errorcode"] == 431


def test_a_console_is_a_url_with_a_ticket(cloud: Cloud, web: dict[str, Any]) -> None:
    endpoint = cloud.api.createConsoleEndpoint(virtualmachineid=web["id"])["consoleendpoint"]
    assert endpoint["success"] is True
    assert endpoint["url"].startswith("https://172.31.241.")


def test_destroy_recover_expunge(cloud: Cloud) -> None:
    api = cloud.api
    vm = deploy(api, cloud.zone, cloud.template, cloud.network, "short-lived")
    api.destroyVirtualMachine(id=vm["id"], fetch_result=True)
    assert state_of(api, vm) == "Destroyed"
    assert api.recoverVirtualMachine(id=vm["id"])["virtualmachine"]["state"] == "Stopped"
    api.destroyVirtualMachine(id=vm["id"], expunge=True, fetch_result=True)
    with pytest.raises(CloudStackApiException) as caught:
        api.listVirtualMachines(id=vm["id"])
    assert "entity does not exist" in caught.value.error["errortext"]


def test_a_disk_comes_and_goes(cloud: Cloud, web: dict[str, Any]) -> None:
    api = cloud.api
    (offering,) = api.listDiskOfferings(name="Small")["diskoffering"]
    volume = api.createVolume(
        name="data", diskofferingid=offering["id"], zoneid=cloud.zone, fetch_result=True
    )["volume"]
    attached = api.attachVolume(id=volume["id"], virtualmachineid=web["id"], fetch_result=True)["volume"]
    assert attached["virtualmachineid"] == web["id"]
    assert "virtualmachineid" not in api.detachVolume(id=volume["id"], fetch_result=True)["volume"]
    assert api.deleteVolume(id=volume["id"]) == {"success": True}


def test_a_running_vm_is_plugged_into_a_second_network(cloud: Cloud, web: dict[str, Any]) -> None:
    api = cloud.api
    second = create_network(api, cloud.zone, "net2")
    place = {"virtualmachineid": web["id"], "fetch_result": True}
    plugged = api.addNicToVirtualMachine(networkid=second, **place)["virtualmachine"]
    nic = next(nic for nic in plugged["nic"] if nic["networkid"] == second)
    (router,) = api.listRouters(networkid=second)["router"]
    assert router["state"] == "Running"
    secondary = api.addIpToNic(nicid=nic["id"], fetch_result=True)["nicsecondaryip"]
    (listed,) = api.listNics(virtualmachineid=web["id"], nicid=nic["id"])["nic"]
    assert listed["secondaryip"] == [{"id": secondary["id"], "ipaddress": secondary["ipaddress"]}]
    with pytest.raises(CloudStackApiException) as caught:
        api.removeNicFromVirtualMachine(nicid=plugged["nic"][0]["id"], **place)
    assert "is the default one" in caught.value.error["errortext"]
    left = api.removeNicFromVirtualMachine(nicid=nic["id"], **place)["virtualmachine"]
    assert [nic["networkid"] for nic in left["nic"]] == [cloud.network]
    assert left["state"] == "Running"


def test_a_vm_is_reinstalled_and_resized(cloud: Cloud) -> None:
    api = cloud.api
    vm = deploy(api, cloud.zone, cloud.template, cloud.network, "changing")
    (old,) = api.listVolumes(virtualmachineid=vm["id"])["volume"]
    fresh = api.restoreVirtualMachine(virtualmachineid=vm["id"], fetch_result=True)["virtualmachine"]
    assert (fresh["state"], fresh["nic"]) == ("Running", vm["nic"])
    assert fresh["password"] != vm["password"]
    (root,) = api.listVolumes(virtualmachineid=vm["id"])["volume"]
    assert root["id"] != old["id"]
    (small,) = api.listServiceOfferings(name="Small Instance")["serviceoffering"]
    change = {"id": vm["id"], "serviceofferingid": small["id"]}
    with pytest.raises(CloudStackApiException) as caught:
        api.scaleVirtualMachine(**change, fetch_result=True)
    assert "stop it first" in caught.value.error["errortext"]
    api.stopVirtualMachine(id=vm["id"], fetch_result=True)
    assert api.scaleVirtualMachine(**change, fetch_result=True) == {"success": True}
    started = api.startVirtualMachine(id=vm["id"], fetch_result=True)["virtualmachine"]
    assert (started["memory"], started["state"]) == (512, "Running")


def test_every_job_left_events_and_none_is_pending(cloud: Cloud, web: dict[str, Any]) -> None:
    def statuses() -> set[int]:
        return {job["jobstatus"] for job in cloud.api.listAsyncJobs(listall=True, fetch_list=True)}

    eventually(lambda: statuses() == {1})
    kinds = {(event["type"], event["state"]) for event in cloud.api.listEvents(fetch_list=True)}
    assert {("VM.CREATE", "Scheduled"), ("VM.CREATE", "Completed")} <= kinds


def terminal(cloud: Cloud, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    """`pileus` as a person with API keys runs it."""
    keys = {"ENDPOINT": cloud.api.endpoint, "KEY": cloud.api.key, "SECRET": cloud.api.secret}
    environment = {**os.environ, **{f"CLOUDSTACK_{name}": value for name, value in keys.items()}}
    argv = [sys.executable, "-m", "appliance.cli.main", *words]
    return subprocess.run(argv, env=environment, input=typed, capture_output=True, text=True, check=False)


def test_the_command_line_waits_for_jobs_and_says_what_is_wrong(cloud: Cloud, web: dict[str, Any]) -> None:
    stopped = terminal(cloud, "api", "stopVirtualMachine", f"id={web['id']}", "--output", "json")
    assert json.loads(stopped.stdout)["virtualmachine"]["state"] == "Stopped", stopped.stderr
    again = terminal(cloud, "api", "stopVirtualMachine", f"id={web['id']}")
    assert again.returncode == 1
    assert "Stopped" in again.stderr
    assert "Traceback" not in again.stderr
    assert "web" in terminal(cloud, "api", "listVirtualMachines", "state=Stopped").stdout
    started = terminal(cloud, "api", "startVirtualMachine", f"id={web['id']}", "-o", "json", "--no-wait")
    assert list(json.loads(started.stdout)) == ["jobid"]
    eventually(lambda: state_of(cloud.api, web) == "Running")


def test_the_shell_takes_one_command_after_the_other(cloud: Cloud, web: dict[str, Any]) -> None:
    said = terminal(cloud, "shell", typed="listVirtualMachines name=web\nlistNothing\nhelp listZones\nexit\n")
    assert web["id"] in said.stdout, said.stderr
    assert "listNothing" in said.stderr
    assert "listZones: " in said.stderr
    assert said.returncode == 0


def test_vms_that_must_be_apart_need_a_second_host(cloud: Cloud) -> None:
    api = cloud.api
    wanted = {"name": "apart", "type": "host anti-affinity", "fetch_result": True}
    group = api.createAffinityGroup(**wanted)["affinitygroup"]
    (offering,) = api.listServiceOfferings(name="Tiny Instance")["serviceoffering"]
    place = {
        "zoneid": cloud.zone,
        "templateid": cloud.template,
        "serviceofferingid": offering["id"],
        "networkids": [cloud.network],
        "affinitygroupids": [group["id"]],
        "fetch_result": True,
    }
    assert (
        api.deployVirtualMachine(name="one", **place)["virtualmachine"]["affinitygroup"][0]["name"] == "apart"
    )
    with pytest.raises(CloudStackApiException) as caught:
        api.deployVirtualMachine(name="two", **place)
    assert "has a VM of an anti-affinity group" in caught.value.error["errortext"]
    assert caught.value.error["errorcode"] == 533


def test_a_vm_is_installed_from_an_iso_and_its_disk_grows(cloud: Cloud) -> None:
    api = cloud.api
    url = "http://172.31.240.1/cd.iso"
    (iso,) = api.registerIso(name="cd", displaytext="cd", url=url, zoneid=cloud.zone)["iso"]
    eventually(lambda: bool(api.listIsos(id=iso["id"], isready=True)))
    (offering,) = api.listServiceOfferings(name="Tiny Instance")["serviceoffering"]
    (disk,) = [item for item in api.listDiskOfferings()["diskoffering"] if item["iscustomized"]]
    what = {"serviceofferingid": offering["id"], "diskofferingid": disk["id"], "size": 2}
    place = {"zoneid": cloud.zone, "networkids": [cloud.network], "fetch_result": True}
    vm = api.deployVirtualMachine(name="installed", templateid=iso["id"], **what, **place)["virtualmachine"]
    assert (vm["state"], vm["isoid"]) == ("Running", iso["id"])
    with pytest.raises(CloudStackApiException, match="detach it first"):
        api.deleteIso(id=iso["id"], fetch_result=True)
    where = {"virtualmachineid": vm["id"], "fetch_result": True}
    assert "isoid" not in api.detachIso(**where)["virtualmachine"]
    assert api.attachIso(id=iso["id"], **where)["virtualmachine"]["isoname"] == "cd"
    assert "isoid" not in api.detachIso(**where)["virtualmachine"]
    (root,) = api.listVolumes(virtualmachineid=vm["id"], type="ROOT")["volume"]
    grown = api.resizeVolume(id=root["id"], size=3, fetch_result=True)["volume"]
    assert grown["size"] == 3 << 30
    api.deleteIso(id=iso["id"], fetch_result=True)
    api.destroyVirtualMachine(id=vm["id"], expunge=True, fetch_result=True)
    assert api.listIsos(isofilter="self") == {}
