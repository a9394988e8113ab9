"""Hosts and their storage, on the simulated hypervisor."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mgmt.agents.errors import AgentUnreachable
from mgmt.api.testing import Api, Client, open_api
from mgmt.drivers.faults import Faults
from mgmt.drivers.simulator import Simulator
from mgmt.ops.runtime import Runtime
from mgmt.pki.authority import Authority

pytestmark = pytest.mark.unit


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def api(tmp_path: Path, fresh_store: Path, faults: Faults) -> Iterator[Api]:
    with open_api(tmp_path, like=fresh_store) as opened:
        context = opened.context
        context.parts[Runtime] = Runtime(
            database=context.database,
            seal=context.seal,
            authority=Authority(tmp_path / "pki"),
            drivers={"simulator": Simulator(faults)},
        )
        yield opened


@pytest.fixture
def place(admin: Client) -> dict[str, str]:
    zone = admin.get("createZone", name="z", networktype="Advanced", dns1="9.9.9.9", internaldns1="9.9.9.9")
    zone_id = zone["zone"]["id"]
    net = {
        "gateway": "172.20.0.1",
        "netmask": "255.255.255.0",
        "startip": "172.20.0.10",
        "endip": "172.20.0.20",
    }
    pod_id = admin.get("createPod", name="p", zoneid=zone_id, **net)["pod"]["id"]
    where = {"zoneid": zone_id, "podid": pod_id}
    cluster = admin.get("addCluster", clustername="c", hypervisor="Simulator", **where)["cluster"][0]
    return {**where, "clusterid": cluster["id"]}


def add_host(admin: Client, place: dict[str, str]) -> dict[str, object]:
    answer = admin.get("addHost", hypervisor="Simulator", url="https://172.20.0.2:8445", **place)
    (host,) = answer["host"]
    return dict(host)


def test_a_host_is_what_its_agent_says(admin: Client, place: dict[str, str]) -> None:
    host = add_host(admin, place)
    assert (host["type"], host["state"], host["resourcestate"]) == ("Routing", "Up", "Enabled")
    assert (host["ipaddress"], host["hypervisor"]) == ("172.20.0.2", "Simulator")
    assert host["cpunumber"] == 16
    assert host["memorytotal"] == 65536 * 1024**2
    assert admin.get("listHosts", type="Routing")["host"] == [host]
    assert admin.get("listHosts", type="ConsoleProxy") == {}
    (event,) = admin.get("listEvents", type="HOST.ADD")["event"]
    assert event["resourceid"] == host["id"]
    again = admin("addHost", hypervisor="Simulator", url="https://172.20.0.2", **place)
    assert again.status == 431
    assert "is here already" in again.error


def test_an_agent_that_does_not_answer_is_named(admin: Client, place: dict[str, str], faults: Faults) -> None:
    faults.fail("info", AgentUnreachable("host", "no route to 172.20.0.2"))
    answer = admin("addHost", hypervisor="Simulator", url="https://172.20.0.2:8445", **place)
    assert (answer.status, admin.get("listHosts")) == (534, {})
    assert "172.20.0.2:8445" in answer.error
    assert "no route" in answer.error


def test_a_pool_is_one_of_the_hosts(admin: Client, place: dict[str, str]) -> None:
    host = add_host(admin, place)
    wanted = {"name": "s", "zoneid": place["zoneid"], "scope": "HOST", "hostid": host["id"]}
    unknown = admin("createStoragePool", url=f"file://{host['name']}/elsewhere", **wanted)
    assert unknown.status == 431
    assert "a pool that host" in unknown.error
    assert admin("createStoragePool", url="nfs://h/x", **wanted).status == 431
    pool = admin.get("createStoragePool", url=f"file://{host['name']}/primary", **wanted)["storagepool"]
    assert pool["disksizetotal"] > 0
    assert pool["disksizeused"] == 0
    assert (pool["scope"], pool["state"], pool["ipaddress"]) == ("HOST", "Up", "172.20.0.2")
    assert admin.get("listStoragePools", hostid=host["id"])["storagepool"] == [pool]
    twice = admin("createStoragePool", url=f"file://{host['name']}/primary", **wanted)
    assert "is storage pool s already" in twice.error
    assert admin("deleteHost", id=host["id"]).status == 536
    admin.get("deleteStoragePool", id=pool["id"])
    admin.get("deleteHost", id=host["id"])
    assert admin.get("listHosts") == {}
    assert add_host(admin, place)["state"] == "Up", "a host can come back"


def test_a_host_is_disabled_and_enabled(admin: Client, place: dict[str, str]) -> None:
    host = add_host(admin, place)
    changed = admin.get("updateHost", id=host["id"], allocationstate="Disable")["host"]
    assert changed["resourcestate"] == "Disabled"
    assert admin("updateHost", id=host["id"], allocationstate="Sleep").status == 431
