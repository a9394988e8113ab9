"""Faults on simulated hosts, planned by the API."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mgmt.agents.errors import AgentFailed, AgentUnreachable
from mgmt.api.testing import Api, Client, open_api
from mgmt.drivers.faults import Faults
from mgmt.drivers.simulated_time import SimulatedTime
from mgmt.drivers.simulator import Simulator
from mgmt.ops.endpoints import host_endpoint
from mgmt.ops.runtime import Runtime
from mgmt.pki.authority import Authority
from mgmt.store.tables import Cluster, Host, Pod, Zone
from tests.unit.mgmt.small_cloud import Clock

pytestmark = pytest.mark.unit


@pytest.fixture
def simulator() -> Simulator:
    clock = Clock()
    return Simulator(Faults(time=SimulatedTime(100.0, clock.seconds, clock.sleep)))


@pytest.fixture
def api(tmp_path: Path, fresh_store: Path, simulator: Simulator) -> Iterator[Api]:
    with open_api(tmp_path, like=fresh_store) as api:
        context = api.context
        context.parts[Runtime] = Runtime(
            database=context.database,
            seal=context.seal,
            authority=Authority(tmp_path / "pki"),
            drivers={"simulator": simulator},
        )
        yield api


@pytest.fixture
def hosts(api: Api) -> list[Host]:
    """Two hosts, each in a zone, pod and cluster of its own."""
    rows = []
    with api.context.database.writing() as session:
        for name in ("h1", "h2"):
            session.add(zone := Zone(name=name, dns1="9.9.9.9", internal_dns1="9.9.9.9"))
            session.flush()
            ends = {"start_ip": "10.0.0.2", "end_ip": "10.0.0.9"}
            pod = Pod(zone_id=zone.id, name=name, gateway="10.0.0.1", netmask="255.0.0.0", **ends)
            session.add(pod)
            session.flush()
            session.add(cluster := Cluster(zone_id=zone.id, pod_id=pod.id, name=name, hypervisor="Simulator"))
            session.flush()
            place = {"zone_id": zone.id, "pod_id": pod.id, "cluster_id": cluster.id, "driver": "simulator"}
            ports = {"port": 1, "tunnel_port": 2, "relay_port": 3}
            rows.append(Host(**place, **ports, name=name, address=f"{name}.example"))
        session.add_all(rows)
    return rows


def test_a_fault_is_met_as_often_as_planned(admin: Client, simulator: Simulator, hosts: list[Host]) -> None:
    planned = admin("configureSimulator", name="info", value="result:fail", count=2).body
    assert planned == {"id": 1, "name": "info", "count": 2}
    for _ in range(2):
        with pytest.raises(AgentFailed, match="told to fail"):
            simulator.info(host_endpoint(hosts[0]))
    assert simulator.info(host_endpoint(hosts[0])).name == "h1"
    assert admin("querySimulatorMock", id=1).body["count"] == 0


def test_without_a_count_until_it_is_cleared(admin: Client, simulator: Simulator, hosts: list[Host]) -> None:
    planned = admin("configureSimulator", name="*", value="result:fault|wait:5000").body
    for _ in range(3):
        with pytest.raises(AgentUnreachable, match="not to hear"):
            simulator.all_domains(host_endpoint(hosts[0]))
    clock: Any = simulator.faults.time.sleep
    assert clock.__self__.slept == pytest.approx(0.15), "three times five seconds, a hundred times as fast"
    assert admin("cleanupSimulatorMock", id=planned["id"]).body == {"success": True}
    assert simulator.all_domains(host_endpoint(hosts[0])) == []


def test_what_is_lost_was_done(admin: Client, simulator: Simulator, hosts: list[Host]) -> None:
    admin("configureSimulator", name="info", value="result:lost", count=1)
    with pytest.raises(AgentUnreachable, match="not to answer"):
        simulator.info(host_endpoint(hosts[0]))
    assert list(simulator.hosts) == [hosts[0].address]


@pytest.mark.parametrize(
    ("parameter", "column"),
    [("zoneid", "zone_id"), ("podid", "pod_id"), ("clusterid", "cluster_id"), ("hostid", "id")],
)
def test_a_fault_has_its_place(
    admin: Client, simulator: Simulator, hosts: list[Host], parameter: str, column: str
) -> None:
    place = getattr(hosts[0], column)
    planned = admin("configureSimulator", name="info", value="result:fail", **{parameter: place}).body
    assert planned[parameter] == place
    with pytest.raises(AgentFailed):
        simulator.info(host_endpoint(hosts[0]))
    assert simulator.info(host_endpoint(hosts[1])).name == "h2"


@pytest.mark.parametrize(
    ("command", "sent", "words"),
    [
        ("configureSimulator", {"name": "StartCommand", "value": "result:fail"}, "put_domain"),
        ("configureSimulator", {"name": "info", "value": "result:explode"}, "result:lost"),
        ("configureSimulator", {"name": "info", "value": "wait:-1"}, "milliseconds"),
        ("configureSimulator", {"name": "info", "value": "wait:9", "count": 0}, "count"),
        ("configureSimulator", {"name": "info", "value": "wait:9", "jsonresponse": "{}"}, "not offered"),
        ("querySimulatorMock", {"id": 9}, "does not exist"),
        ("cleanupSimulatorMock", {"id": 9}, "does not exist"),
    ],
)
def test_mistakes_are_named(admin: Client, command: str, sent: dict[str, object], words: str) -> None:
    answer = admin(command, **sent)
    assert (answer.status, words in answer.error) == (431, True), answer.error


def test_only_offered_where_simulated_hosts_are_allowed(api: Api) -> None:
    config = msgspec.structs.replace(api.context.config, simulated_hosts=False)
    object.__setattr__(api.context, "config", config)
    admin = api.client("admin")
    refused = admin("configureSimulator", name="info", value="result:fail")
    assert (refused.status, "does not exist or is not available" in refused.error) == (401, True)
    names = {item["name"] for item in admin.get("listApis")["api"]}
    assert "listHosts" in names
    assert not [name for name in names if "Simulator" in name]
