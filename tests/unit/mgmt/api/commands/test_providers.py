"""Providers of network services, and ranges of public addresses that change."""

from typing import Any

import pytest

from mgmt.api.testing import Api, Client
from mgmt.model.states import AddressState
from mgmt.store.defaults import ISOLATED_OFFERING
from mgmt.store.tables import PublicAddress

pytestmark = pytest.mark.unit


@pytest.fixture
def ids(admin: Client) -> dict[str, Any]:
    zone = admin.get(
        "createZone",
        name="z",
        networktype="Advanced",
        dns1="9.9.9.9",
        internaldns1="9.9.9.9",
        allocationstate="Enabled",
    )["zone"]["id"]
    physical = admin.get("createPhysicalNetwork", name="p", zoneid=zone)["id"]
    (offering,) = admin.get("listNetworkOfferings", name=ISOLATED_OFFERING)["networkoffering"]
    return {"zoneid": zone, "physicalnetworkid": physical, "networkofferingid": offering["id"]}


def test_a_physical_network_comes_with_its_router(admin: Client, ids: dict[str, Any]) -> None:
    physical = ids.pop("physicalnetworkid")
    (router,) = admin.get("listNetworkServiceProviders", name="VirtualRouter", physicalnetworkid=physical)[
        "networkserviceprovider"
    ]
    assert (router["state"], "SourceNat" in router["servicelist"]) == ("Enabled", True)
    changed = admin.get("updateNetworkServiceProvider", id=router["id"], state="Disabled")
    result = admin.get("queryAsyncJobResult", jobid=changed["jobid"])["jobresult"]
    assert result["networkserviceprovider"]["state"] == "Disabled"
    refused = admin("createNetwork", name="n", **ids)
    assert "Provider VirtualRouter is disabled in zone z" in refused.error
    admin.get("updateNetworkServiceProvider", id=router["id"], state="Enabled")
    network = admin.get("createNetwork", name="n", **ids)["network"]
    assert admin("deleteNetworkServiceProvider", id=router["id"]).status == 536
    assert network["name"] == "n"


def test_providers_come_and_go(admin: Client, ids: dict[str, Any]) -> None:
    wanted = {"name": "VirtualRouter", "physicalnetworkid": ids["physicalnetworkid"]}
    assert "has provider VirtualRouter already" in admin("addNetworkServiceProvider", **wanted).error
    (router,) = admin.get("listNetworkServiceProviders", state="Enabled")["networkserviceprovider"]
    admin.get("deleteNetworkServiceProvider", id=router["id"])
    assert admin.get("listNetworkServiceProviders") == {}
    made = admin.get("addNetworkServiceProvider", **wanted)
    (listed,) = admin.get("listNetworkServiceProviders", id=made["id"])["networkserviceprovider"]
    assert listed["state"] == "Disabled"
    for wrong in ({"name": "Netscaler"}, {"servicelist": "Dhcp"}):
        assert admin("addNetworkServiceProvider", **(wanted | wrong)).status == 431
    assert admin("updateNetworkServiceProvider", id=made["id"], state="Sleepy").status == 431


def test_network_services(admin: Client) -> None:
    services = admin.get("listSupportedNetworkServices")["networkservice"]
    assert {item["name"] for item in services} >= {"Dhcp", "Lb", "SourceNat"}
    (balancer,) = admin.get("listSupportedNetworkServices", service="Lb", provider="VirtualRouter")[
        "networkservice"
    ]
    algorithms = {item["name"]: item["value"] for item in balancer["capability"]}["SupportedLbAlgorithms"]
    assert algorithms == "roundrobin,leastconn,source"
    assert admin.get("listSupportedNetworkServices", provider="Netscaler") == {}


@pytest.fixture
def vlan(admin: Client, ids: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = admin.get(
        "createVlanIpRange",
        zoneid=ids["zoneid"],
        gateway="198.51.100.1",
        netmask="255.255.255.0",
        startip="198.51.100.10",
        endip="198.51.100.12",
    )["vlan"]
    return made


def addresses(api: Api) -> list[str]:
    with api.context.database.reading() as session:
        rows = session.query(PublicAddress).filter(PublicAddress.removed.is_(None))
        return sorted(row.address for row in rows)


def test_a_range_grows_and_shrinks(api: Api, admin: Client, vlan: dict[str, Any]) -> None:
    changed = admin.get("updateVlanIpRange", id=vlan["id"], endip="198.51.100.13")["vlan"]
    assert (changed["startip"], changed["endip"]) == ("198.51.100.10", "198.51.100.13")
    admin.get("updateVlanIpRange", id=vlan["id"], startip="198.51.100.12")
    assert addresses(api) == ["198.51.100.12", "198.51.100.13"]


def test_addresses_in_use_stay(api: Api, admin: Client, vlan: dict[str, Any]) -> None:
    with api.context.database.writing() as session:
        row = session.query(PublicAddress).filter_by(address="198.51.100.10").one()
        row.state = AddressState.allocated
    for sent, words in (
        ({"startip": "198.51.100.11"}, "Addresses 198.51.100.10 are in use"),
        ({"netmask": "255.255.255.128"}, "gateway and netmask cannot change"),
    ):
        refused = admin("updateVlanIpRange", id=vlan["id"], **sent)
        assert (refused.status, words in refused.error) == (536, True), refused.error
    for sent in ({"startip": "198.51.100.99"}, {"endip": "198.51.101.1"}, {"gateway": "x"}):
        assert admin("updateVlanIpRange", id=vlan["id"], **sent).status == 431
    assert len(addresses(api)) == 3
