"""Alerts and capacity through the API."""

from typing import Any

import pytest

from mgmt.model.errors import CloudError
from mgmt.model.notices import ALERT_NAMES, CAPACITY_NAMES
from mgmt.store.tables import Alert, Cluster, Host, Pod, ServiceOffering, StoragePool
from tests.unit.mgmt.api.commands.world import World

pytestmark = pytest.mark.unit
GIB = 1024**3


def add_alert(world: World, kind: int = 7, text: str = "host h is away") -> str:
    alert = Alert(type=kind, name="ALERT.COMPUTE.HOST", description=text, last_sent=world.context.clock())
    world.add(alert)
    return alert.id


def listed(world: World, **parameters: Any) -> list[str]:
    return [item["description"] for item in world.call("listAlerts", "admin", **parameters).get("alert", [])]


def test_alerts_are_listed_archived_and_deleted(world: World) -> None:
    first, second = add_alert(world), add_alert(world, 0, "memory")
    assert sorted(listed(world)) == ["host h is away", "memory"]
    assert listed(world, type=0) == ["memory"]
    assert listed(world, keyword="AWAY") == ["host h is away"]
    assert listed(world, id=first) == ["host h is away"]
    assert listed(world, page=2, pagesize=1) != listed(world, page=1, pagesize=1)
    assert world.call("archiveAlerts", "admin", ids=first) == {"success": True}
    assert listed(world) == ["memory"]
    assert world.get(Alert, first).removed is not None
    world.call("deleteAlerts", "admin", type=0)
    assert listed(world) == []
    with pytest.raises(CloudError, match=f"Invalid parameter ids value={second}"):
        world.call("deleteAlerts", "admin", ids=second)


@pytest.mark.parametrize("command", ["archiveAlerts", "deleteAlerts"])
def test_somebody_must_say_which(world: World, command: str) -> None:
    with pytest.raises(CloudError, match="send ids, type or enddate"):
        world.call(command, "admin", startdate="2026-01-01")


def test_an_alert_that_is_over_and_came_back_says_so(world: World) -> None:
    alert_id = add_alert(world)
    with world.context.database.writing() as session:
        row = session.get_one(Alert, alert_id)
        row.count, row.resolved = 3, row.created
    (words,) = listed(world)
    assert words.startswith("host h is away (3 times); over since 20")


def test_a_generated_alert(world: World) -> None:
    made = world.call("generateAlert", "admin", name="fan", description="fan 2 is loud", type=14)
    assert list(made) == ["jobid"]
    result = world.call("queryAsyncJobResult", "admin", jobid=made["jobid"])
    assert (result["jobstatus"], result["jobresult"]) == (1, {"success": True})
    assert listed(world) == ["fan 2 is loud"]
    for wrong in ("-1", "99999", "loud"):
        with pytest.raises(CloudError, match="for parameter type"):
            world.call("generateAlert", "admin", name="fan", description="x", type=wrong)


def test_alert_types(world: World) -> None:
    types = world.call("listAlertTypes", "admin")["alerttype"]
    assert {item["name"] for item in types} == set(ALERT_NAMES.values())


@pytest.fixture
def cluster(world: World) -> Cluster:
    """A cluster with one host of 4 cores and 8 GiB, a pool, and a VM of 2 GiB."""
    zone = world.ids["zone"]
    pod = Pod(
        zone_id=zone,
        name="p",
        gateway="172.20.0.1",
        netmask="255.255.255.0",
        start_ip="172.20.0.10",
        end_ip="172.20.0.19",
    )
    world.add(pod)
    cluster = Cluster(zone_id=zone, pod_id=pod.id, name="c")
    world.add(cluster)
    host = Host(
        zone_id=zone,
        pod_id=pod.id,
        cluster_id=cluster.id,
        name="h",
        address="172.20.0.2",
        port=1,
        tunnel_port=2,
        relay_port=3,
        cpus=4,
        cpu_mhz=1000,
        memory_mib=8192,
        state="Up",
    )
    world.add(host)
    world.add(
        StoragePool(zone_id=zone, host_id=host.id, name="s", path="s", capacity=100 * GIB, used=25 * GIB)
    )
    vm = world.vm(world.network())
    with world.context.database.writing() as session:
        row = session.get_one(type(vm), vm.id)
        row.host_id = host.id
        row.offering_id = session.query(ServiceOffering).filter_by(name="Large Instance").one().id
    return cluster


def capacities(world: World, **parameters: Any) -> dict[str, tuple[int, int, str]]:
    answer = world.call("listCapacity", "admin", **parameters)
    return {
        item["name"]: (item["capacityused"], item["capacitytotal"], item["percentused"])
        for item in answer.get("capacity", [])
    }


def test_capacity_of_a_zone(world: World, cluster: Cluster) -> None:
    found = capacities(world, zoneid=world.ids["zone"])
    assert set(found) == set(CAPACITY_NAMES.values())
    assert found["MEMORY"] == (2 * GIB, (8192 - 512) * 1024**2, "26.67")
    assert found["CPU"] == (2000, 4 * 1000 * 8, "6.25")
    assert found["CPU_CORE"] == (2, 32, "6.25")
    assert found["STORAGE"] == (25 * GIB, 100 * GIB, "25.00")
    assert found["STORAGE_ALLOCATED"] == (0, 200 * GIB, "0.00")
    assert found["VIRTUAL_NETWORK_PUBLIC_IP"] == (2, 4, "50.00")
    assert found["PRIVATE_IP"] == (0, 10, "0.00")
    assert found["VLAN"][1] == 10000


@pytest.mark.parametrize(
    ("command", "kind"), [("listZones", "zone"), ("listPods", "pod"), ("listClusters", "cluster")]
)
def test_lists_of_places_show_the_capacities_of_each(
    world: World, cluster: Cluster, command: str, kind: str
) -> None:
    place = {"zone": cluster.zone_id, "pod": cluster.pod_id, "cluster": cluster.id}[kind]
    (there,) = world.call(command, "admin", id=place, showcapacities="true")[kind]
    asked = world.call("listCapacity", "admin", **{f"{kind}id": place})["capacity"]
    shown = [{name: item[name] for name in ("type", "capacityused", "capacitytotal")} for item in asked]
    assert shown
    assert [{name: item[name] for name in shown[0]} for item in there["capacity"]] == shown
    assert "capacity" not in world.call(command, "admin", id=place)[kind][0]


def test_capacities_are_for_root_administrators(world: World, cluster: Cluster) -> None:
    (there,) = world.call("listZones", "alice", showcapacities="true")["zone"]
    assert "capacity" not in there


def test_capacity_follows_the_overprovisioning_of_the_cluster(world: World, cluster: Cluster) -> None:
    factor = {"name": "mem.overprovisioning.factor", "value": 2}
    world.call("updateConfiguration", "admin", **factor, clusterid=cluster.id)
    (item,) = world.call("listCapacity", "admin", clusterid=cluster.id, type=0)["capacity"]
    assert item["capacitytotal"] == (2 * 8192 - 512) * 1024**2
    assert (item["clustername"], item["podname"], item["zonename"]) == ("c", "p", "z")
    world.call("updateConfiguration", "admin", **{**factor, "value": 3}, zoneid=world.ids["zone"])
    assert capacities(world, type=0)["MEMORY"][1] == (2 * 8192 - 512) * 1024**2, "the cluster's own counts"


def test_the_fullest_first(world: World, cluster: Cluster) -> None:
    shares = [float(item[2]) for item in capacities(world, sortby="usage").values()]
    assert shares == sorted(shares, reverse=True)
    for name, value in (("sortby", "colour"), ("type", 77)):
        with pytest.raises(CloudError, match=f"Invalid value {value} for parameter {name}"):
            world.call("listCapacity", "admin", **{name: value})
