"""Tags and offerings."""

from typing import Any

import pytest

from mgmt.api.testing import Api, Client
from mgmt.model.errors import ParameterError
from tests.unit.mgmt.api.commands.world import World

pytestmark = pytest.mark.unit
DNS = {"dns1": "9.9.9.9", "internaldns1": "9.9.9.9"}
TAG = {"tags[0].key": "Colour", "tags[0].value": "red"}


@pytest.fixture
def zone(admin: Client) -> str:
    return str(admin.get("createZone", name="z", networktype="Advanced", **DNS)["zone"]["id"])


def test_tags_come_and_go(admin: Client, zone: str) -> None:
    on = {"resourceids": zone, "resourcetype": "zone"}
    job = admin.get("createTags", **on, **TAG)["jobid"]
    assert admin.get("queryAsyncJobResult", jobid=job)["jobresult"] == {"success": True}
    (tag,) = admin.get("listTags", resourcetype="Zone")["tag"]
    assert (tag["key"], tag["value"], tag["resourceid"]) == ("Colour", "red", zone)
    assert "on Zone" in admin("createTags", **on, **TAG).error
    assert [found["id"] for found in admin.get("listZones", **TAG)["zone"]] == [zone]
    other = {"tags[0].key": "Colour", "tags[0].value": "blue"}
    assert admin.get("listZones", **other) == {}
    assert admin("deleteTags", **on, **other).status == 431
    admin.get("deleteTags", **on, **TAG)
    assert admin.get("listTags") == {}
    admin.get("createTags", **on, **TAG)


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"resourcetype": "Teapot"}, 431, "Invalid value Teapot for parameter resourcetype"),
        ({"resourceids": "00000000-1111-2222-3333-444444444444"}, 431, "entity does not exist"),
        ({"tags[0].key": None, "tags[0].value": None}, 431, "missing parameter tags"),
        ({"tags[0].key": "k" * 256}, 431, "256 characters long"),
    ],
)
def test_wrong_tags(admin: Client, zone: str, change: dict[str, str], status: int, words: str) -> None:
    answer = admin("createTags", **{"resourceids": zone, "resourcetype": "Zone", **TAG, **change})
    assert answer.status == status
    assert words in answer.error
    assert admin.get("listTags") == {}


def test_what_is_not_yours_cannot_be_tagged(api: Api, zone: str) -> None:
    answer = api.account("bob")("createTags", resourceids=zone, resourcetype="Zone", **TAG)
    assert (answer.status, answer.body["cserrorcode"]) == (531, 4365)


def test_offerings_of_system_vms_are_administrators_business(api: Api, admin: Client) -> None:
    bob = api.account("bob")
    assert {item["issystem"] for item in bob.get("listServiceOfferings")["serviceoffering"]} == {False}
    assert bob("listServiceOfferings", issystem=True).status == 531
    system = admin.get("listServiceOfferings", issystem=True)["serviceoffering"]
    assert {item["systemvmtype"] for item in system} == {"domainrouter", "consoleproxy", "secondarystoragevm"}
    assert admin("deleteServiceOffering", id=system[0]["id"]).status == 431


def test_service_offerings(admin: Client) -> None:
    made = admin.get("createServiceOffering", name="x", cpunumber=2, memory=256, rootdisksize=3)[
        "serviceoffering"
    ]
    assert (made["cpunumber"], made["memory"], made["rootdisksize"]) == (2, 256, 3)
    assert admin.get("listServiceOfferings", name="x")["serviceoffering"] == [made]
    admin.get("updateServiceOffering", id=made["id"], name="y")
    admin.get("deleteServiceOffering", id=made["id"])
    assert admin.get("listServiceOfferings", name="y") == {}
    for wrong in (
        {"cpunumber": 0},
        {"memory": 1},
        {"storagetype": "tape"},
        {"systemvmtype": "domainrouter"},
    ):
        wanted = {"name": "w", "cpunumber": 1, "memory": 128, **wrong}
        assert admin("createServiceOffering", **wanted).status == 431, wrong


def test_disk_offerings(admin: Client) -> None:
    made = admin.get("createDiskOffering", name="x", disksize=7)["diskoffering"]
    assert (made["disksize"], made["iscustomized"]) == (7, False)
    for wrong in ({}, {"disksize": 1, "customized": True}, {"disksize": 0}):
        assert admin("createDiskOffering", name="w", **wrong).status == 431, wrong
    admin.get("deleteDiskOffering", id=made["id"])
    assert admin.get("listDiskOfferings", name="x") == {}


def test_network_offerings(api: Api, admin: Client) -> None:
    wanted = {"name": "x", "guestiptype": "Isolated", "traffictype": "Guest", "supportedservices": "Dhcp,Dns"}
    made = admin.get("createNetworkOffering", **wanted)["networkoffering"]
    assert made["state"] == "Disabled"
    assert [item["name"] for item in made["service"]] == ["Dhcp", "Dns"]
    assert made["service"][0]["provider"] == [{"name": "VirtualRouter"}]
    bob = api.account("bob")
    assert bob.get("listNetworkOfferings", name="x") == {}
    admin.get("updateNetworkOffering", id=made["id"], state="Enabled")
    assert bob.get("listNetworkOfferings", name="x")["count"] == 1
    assert admin.get("listNetworkOfferings", supportedservices="SourceNat")["count"] == 1
    for wrong in ({"guestiptype": "Shared"}, {"supportedservices": "Vpn"}, {"traffictype": "Public"}):
        assert admin("createNetworkOffering", **{**wanted, **wrong}).status == 431, wrong
    default = admin.get("listNetworkOfferings", isdefault=True)["networkoffering"][0]
    assert default["serviceofferingid"]
    assert admin("deleteNetworkOffering", id=default["id"]).status == 431
    admin.get("deleteNetworkOffering", id=made["id"])
    assert admin.get("createNetworkOffering", enable=True, **wanted)["networkoffering"]["state"] == "Enabled"


@pytest.mark.parametrize(
    ("kind", "more", "use", "parameter"),
    [
        ("ServiceOffering", {"cpunumber": 1, "memory": 128}, "deployVirtualMachine", "serviceofferingid"),
        ("DiskOffering", {"disksize": 1}, "createVolume", "diskofferingid"),
        (
            "NetworkOffering",
            {"guestiptype": "Isolated", "traffictype": "Guest", "supportedservices": "Dhcp", "enable": True},
            "createNetwork",
            "networkofferingid",
        ),
    ],
)
def test_offerings_are_for_the_domains_they_are_made_for(
    api: Api, admin: Client, zone: str, kind: str, more: dict[str, Any], use: str, parameter: str
) -> None:
    key = kind.lower()
    place = admin.get("createDomain", name=f"of_{key}")["domain"]["id"]
    below = admin.get("createDomain", name="below", parentdomainid=place)["domain"]["id"]
    made = admin.get(f"create{kind}", name="theirs", domainid=place, **more)[key]
    assert (made["domain"], made["domainid"]) == (f"of_{key}", place)
    inside, outside = api.account("in", domain=f"/of_{key}/below/"), api.account("out")
    admin.get("updateZone", id=zone, allocationstate="Enabled")
    for caller, sees in ((inside, True), (outside, False), (admin, True)):
        assert (caller.get(f"list{kind}s", name="theirs") != {}) == sees
    assert admin.get(f"list{kind}s", name="theirs", domainid=below)[key] == [made]
    root = admin.get("listDomains", level=0)["domain"][0]["id"]
    assert admin.get(f"list{kind}s", name="theirs", domainid=root) == {}
    sent = {"name": "x", "zoneid": zone, "templateid": "x", parameter: made["id"]}
    refusal = outside(use, **sent)
    assert (refusal.status, "does not have permission to use" in refusal.error) == (531, True)
    assert "permission" not in inside(use, **sent).error


def test_storage_tags_of_offerings(world: World) -> None:
    """Kept, shown and changed; a text that is no tag is refused."""
    size = {"name": "s", "displaytext": "s", "cpunumber": 1, "memory": 128, "tags": "fast,fast,safe"}
    service = world.call("createServiceOffering", "admin", **size)["serviceoffering"]
    disk = world.call("createDiskOffering", "admin", name="d", disksize=1, tags="fast")["diskoffering"]
    assert (service["storagetags"], disk["tags"]) == ("fast,safe", "fast")
    changed = world.call("updateServiceOffering", "admin", id=service["id"], storagetags="slow")
    assert changed["serviceoffering"]["storagetags"] == "slow"
    changed = world.call("updateDiskOffering", "admin", id=disk["id"], tags="slow")
    assert changed["diskoffering"]["tags"] == "slow"
    for command, sent in (
        ("createDiskOffering", {"name": "e", "disksize": 1, "tags": "no tag"}),
        ("createServiceOffering", {**size, "tags": "no tag"}),
        ("createDiskOffering", {"name": "e", "disksize": 1, "provisioningtype": "fat"}),
        ("createDiskOffering", {"name": "e", "disksize": 1, "zoneid": world.ids["zone"]}),
        ("createServiceOffering", {**size, "offerha": "true"}),
        ("createDiskOffering", {"name": "e", "disksize": 1, "bytesreadrate": 1000}),
    ):
        with pytest.raises(ParameterError, match=r"expected (letters|thin)|is not supported"):
            world.call(command, "admin", **sent)
