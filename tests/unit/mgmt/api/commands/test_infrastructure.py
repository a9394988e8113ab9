"""A zone is described by the API; whatever is wrong in it is refused, and nothing changes."""

from typing import Any

import pytest
from sqlalchemy import func, select

from mgmt.api.testing import Api, Client
from mgmt.store import tables
from mgmt.store.tables import Base, PublicAddress
from tests.unit.mgmt.api.matrix.people import populate
from tests.unit.mgmt.api.matrix.rows import Rows

pytestmark = pytest.mark.unit

ZONE = {"name": "z1", "networktype": "Advanced", "dns1": "9.9.9.9", "internaldns1": "10.0.0.1"}
POD = {"name": "p1", "gateway": "172.20.0.1", "netmask": "255.255.255.0", "startip": "172.20.0.10"}
RANGE = {
    "gateway": "203.0.113.1",
    "netmask": "255.255.255.0",
    "startip": "203.0.113.10",
    "endip": "203.0.113.20",
}


@pytest.fixture
def zone(admin: Client) -> str:
    return str(admin.get("createZone", **ZONE)["zone"]["id"])


@pytest.fixture
def physical(admin: Client, zone: str) -> str:
    return str(admin.get("createPhysicalNetwork", zoneid=zone, name="n1")["id"])


@pytest.fixture
def pod(admin: Client, zone: str) -> str:
    return str(admin.get("createPod", zoneid=zone, endip="172.20.0.20", **POD)["pod"]["id"])


def add_cluster(admin: Client, zone: str, pod: str, hypervisor: str = "KVM") -> dict[str, Any]:
    made = admin.get("addCluster", zoneid=zone, podid=pod, clustername="c1", hypervisor=hypervisor)
    (cluster,) = made["cluster"]
    return dict(cluster)


def row_counts(api: Api) -> dict[str, int | None]:
    with api.context.database.reading() as session:
        return {
            name: session.scalar(select(func.count()).select_from(table))
            for name, table in Base.metadata.tables.items()
        }


def refused(api: Api, client: Client, command: str, words: str, status: int = 431, **parameters: Any) -> None:
    before = row_counts(api)
    answer = client(command, **parameters)
    assert answer.status == answer.body["errorcode"] == status, answer.error
    assert words in answer.error
    assert row_counts(api) == before


def test_a_zone_from_nothing(api: Api, admin: Client, zone: str, physical: str, pod: str) -> None:
    job = admin.get("updatePhysicalNetwork", id=physical, state="Enabled")["jobid"]
    result = admin.get("queryAsyncJobResult", jobid=job)
    assert (result["jobstatus"], result["jobresultcode"], result["jobresulttype"]) == (1, 0, "object")
    assert result["jobresult"]["physicalnetwork"]["state"] == "Enabled"
    admin.get("addTrafficType", physicalnetworkid=physical, traffictype="Public", kvmnetworklabel="br0")
    made = admin.get("createVlanIpRange", zoneid=zone, vlan="untagged", **RANGE)["vlan"]
    assert made["physicalnetworkid"] == physical
    cluster = admin.get("addCluster", zoneid=zone, podid=pod, clustername="c1", hypervisor="KVM")
    assert cluster["count"] == 1
    store = admin.get("addImageStore", zoneid=zone, provider="Pileus")["imagestore"]
    admin.get("updateZone", id=zone, allocationstate="Enabled")
    (listed,) = admin.get("listZones")["zone"]
    assert listed["allocationstate"] == "Enabled"
    assert listed["tags"] == []
    (found,) = admin.get("listPods", zoneid=zone)["pod"]
    assert (found["startip"], found["endip"]) == (["172.20.0.10"], ["172.20.0.20"])
    assert admin.get("listVlanIpRanges")["vlaniprange"][0]["id"] == made["id"]
    assert admin.get("listImageStores")["imagestore"][0]["id"] == store["id"]
    assert (
        admin.get("listTrafficTypes", physicalnetworkid=physical)["traffictype"][0]["traffictype"] == "Public"
    )
    with api.context.database.reading() as session:
        addresses = session.scalars(select(PublicAddress.address).order_by(PublicAddress.sort)).all()
    assert (len(addresses), addresses[0], addresses[-1]) == (11, "203.0.113.10", "203.0.113.20")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": ""}, "missing parameter name"),
        ({"networktype": "Basic"}, "Invalid value Basic for parameter networktype: expected Advanced"),
        ({"dns1": "9.9.9"}, "Invalid value 9.9.9 for parameter dns1: expected an IPv4 address"),
        ({"dns2": "dns.example"}, "parameter dns2"),
        ({"internaldns1": "10.0.0.256"}, "parameter internaldns1"),
        ({"guestcidraddress": "10.1.1.0"}, "parameter guestcidraddress"),
        ({"guestcidraddress": "10.1.1.1/24"}, "host bits set"),
        ({"guestcidraddress": "8.8.8.0/24"}, "a private network"),
        ({"guestcidraddress": "127.0.0.0/24"}, "a private network"),
        ({"guestcidraddress": "10.1.1.0/30"}, "prefix length 29 or shorter"),
        ({"domain": "-bad-.example"}, "parameter domain: expected a DNS domain name"),
        ({"allocationstate": "Maybe"}, "Invalid value Maybe for parameter allocationstate"),
        ({"securitygroupenabled": "true"}, "not supported"),
        ({"name": "x" * 256}, "256 characters long"),
        ({"name": "a\tb"}, "control characters"),
    ],
)
def test_wrong_zones(api: Api, admin: Client, change: dict[str, str], words: str) -> None:
    refused(api, admin, "createZone", words, **{**ZONE, **change})


def test_a_zone_keeps_what_a_wrong_update_would_change(api: Api, admin: Client, zone: str) -> None:
    refused(api, admin, "updateZone", "parameter guestcidr", id=zone, name="new", guestcidraddress="x/8")
    assert admin.get("listZones")["zone"][0]["name"] == "z1"
    refused(api, admin, "createZone", "already exists", **ZONE)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"netmask": "255.0.255.0"}, "Invalid value 255.0.255.0 for parameter netmask"),
        ({"gateway": "172.20.0.0"}, "expected a host address in 172.20.0.0/24"),
        ({"startip": "172.21.0.10"}, "expected a host address in 172.20.0.0/24"),
        ({"endip": "172.20.0.255"}, "expected a host address in 172.20.0.0/24"),
        ({"endip": "172.20.0.5"}, "before its start"),
        ({"startip": "172.20.0.1"}, "gateway 172.20.0.1 is inside the range"),
    ],
)
def test_wrong_pods(api: Api, admin: Client, zone: str, change: dict[str, str], words: str) -> None:
    wanted = {**POD, "endip": "172.20.0.20", **change}
    refused(api, admin, "createPod", words, zoneid=zone, **wanted)


@pytest.mark.parametrize(("start", "end"), [("172.20.0.20", "172.20.0.30"), ("172.20.0.2", "172.20.0.200")])
@pytest.mark.usefixtures("physical", "pod")
def test_ranges_must_not_overlap(api: Api, admin: Client, zone: str, start: str, end: str) -> None:
    place = {"gateway": "172.20.0.1", "netmask": "255.255.255.0", "startip": start, "endip": end}
    refused(api, admin, "createPod", "overlaps with pod", zoneid=zone, name="p2", **place)
    refused(api, admin, "createVlanIpRange", "overlaps with pod", zoneid=zone, **place)
    admin.get("createVlanIpRange", zoneid=zone, **RANGE)
    refused(api, admin, "createVlanIpRange", "overlaps with public range", zoneid=zone, **RANGE)


SUBNETS = [
    ("172.20.0.1", "255.255.255.0", "172.20.0.100"),
    ("172.20.0.129", "255.255.255.128", "172.20.0.200"),
    ("172.20.9.1", "255.255.0.0", "172.20.9.10"),
]


@pytest.mark.usefixtures("pod")
@pytest.mark.parametrize(("gateway", "netmask", "start"), SUBNETS, ids=["same", "inside", "around"])
def test_pods_of_a_zone_have_subnets_of_their_own(
    api: Api, admin: Client, zone: str, gateway: str, netmask: str, start: str
) -> None:
    place = {"gateway": gateway, "netmask": netmask, "startip": start, "endip": start}
    refused(api, admin, "createPod", "overlaps with pod p1", zoneid=zone, name="p2", **place)
    aside = {**POD, "name": "p2", "gateway": "172.21.0.1", "startip": "172.21.0.10"}
    second = admin.get("createPod", zoneid=zone, **aside)["pod"]["id"]
    refused(api, admin, "updatePod", "overlaps with pod p1", id=second, **place)
    other = admin.get("createZone", **{**ZONE, "name": "z2"})["zone"]["id"]
    admin.get("createPod", zoneid=other, name="p1", **place)


def test_only_its_own_addresses_in_use_hold_a_pods_range(
    api: Api, admin: Client, zone: str, pod: str
) -> None:
    aside = {**POD, "name": "p2", "gateway": "172.21.0.1", "startip": "172.21.0.10", "endip": "172.21.0.20"}
    second = admin.get("createPod", zoneid=zone, **aside)["pod"]["id"]
    with api.context.database.writing() as session:
        people = populate(session)
        vm = session.get_one(tables.Vm, Rows(session, people).of(tables.Vm, people["root"]))
        vm.zone_id, vm.management_address = zone, "172.20.0.15"
    admin.get("updatePod", id=second, endip="172.21.0.30")
    used = "Address 172.20.0.15 of pod p1 is in use and not in the new range"
    refused(api, admin, "updatePod", used, status=536, id=pod, endip="172.20.0.12")
    assert admin.get("updatePod", id=pod, endip="172.20.0.15")["pod"]["endip"] == ["172.20.0.15"]


def test_a_range_of_another_zones_network_is_refused(api: Api, admin: Client, physical: str) -> None:
    other = admin.get("createZone", **{**ZONE, "name": "z2"})["zone"]["id"]
    refused(api, admin, "createVlanIpRange", "not in", zoneid=other, physicalnetworkid=physical, **RANGE)
    refused(api, admin, "createVlanIpRange", "has no physical network", zoneid=other, **RANGE)
    tagged = {**RANGE, "vlan": "5000"}
    refused(api, admin, "createVlanIpRange", "parameter vlan", physicalnetworkid=physical, **tagged)
    huge = {"gateway": "10.0.0.1", "netmask": "255.0.0.0", "startip": "10.0.0.2", "endip": "10.9.0.2"}
    refused(api, admin, "createVlanIpRange", "more than 65536", physicalnetworkid=physical, **huge)


def test_what_is_in_use_stays(api: Api, admin: Client, zone: str, physical: str, pod: str) -> None:
    cluster = add_cluster(admin, zone, pod)
    made = admin.get("createVlanIpRange", zoneid=zone, **RANGE)["vlan"]
    refused(api, admin, "deleteZone", "still has pods", 536, id=zone)
    refused(api, admin, "deletePod", "still has clusters", 536, id=pod)
    refused(api, admin, "deletePhysicalNetwork", "still has address ranges", 536, id=physical)
    with api.context.database.writing() as session:
        session.scalars(select(PublicAddress)).first().state = "Allocated"  # type: ignore[union-attr]
    refused(api, admin, "deleteVlanIpRange", "203.0.113.10", 536, id=made["id"])
    with api.context.database.writing() as session:
        session.scalars(select(PublicAddress)).first().state = "Free"  # type: ignore[union-attr]
    assert admin.get("deleteVlanIpRange", id=made["id"]) == {"success": True}
    admin.get("deleteCluster", id=cluster["id"])
    admin.get("deletePod", id=pod)
    admin.get("deletePhysicalNetwork", id=physical)
    assert admin.get("deleteZone", id=zone) == {"success": True}
    assert admin.get("listZones") == {}
    assert admin("listPods", zoneid=zone).status == 431


@pytest.mark.usefixtures("physical")
def test_addresses_can_come_back_after_their_range_is_deleted(admin: Client, zone: str) -> None:
    for _ in range(2):
        made = admin.get("createVlanIpRange", zoneid=zone, **RANGE)["vlan"]
        admin.get("deleteVlanIpRange", id=made["id"])


@pytest.mark.parametrize("vlan", ["5", "0-10", "20-10", "1-16777216", "a-b"])
def test_wrong_vxlan_ranges(api: Api, admin: Client, zone: str, vlan: str) -> None:
    refused(api, admin, "createPhysicalNetwork", "parameter vlan", zoneid=zone, name="n", vlan=vlan)


def test_disabled_zones_are_hidden_from_users(api: Api, admin: Client, zone: str) -> None:
    bob = api.account("bob")
    assert bob.get("listZones") == {}
    assert bob("listZones", id=zone).status == 531
    admin.get("updateZone", id=zone, allocationstate="Enabled")
    (seen,) = bob.get("listZones")["zone"]
    assert "dns1" not in seen


def test_every_change_leaves_an_event(admin: Client, zone: str) -> None:
    (event,) = admin.get("listEvents", resourceid=zone)["event"]
    assert (event["type"], event["state"], event["level"]) == ("ZONE.CREATE", "Completed", "INFO")
    assert event["username"] == "admin"


def test_a_host_that_cannot_be_asked_is_not_added(api: Api, admin: Client, zone: str, pod: str) -> None:
    cluster = add_cluster(admin, zone, pod)
    place = {"zoneid": zone, "podid": pod, "hypervisor": "KVM"}
    refused(api, admin, "addHost", "has no cluster", url="https://h", clustername="none", **place)
    refused(api, admin, "addHost", "parameter url", url="ftp://h", clusterid=cluster["id"], **place)
    assert tables.Host.__tablename__ in row_counts(api)
