"""apache-libcloud, unmodified: a tenant's day on a simulated host."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from libcloud.common.types import ProviderError
from libcloud.compute.drivers.cloudstack import CloudStackNodeDriver
from libcloud.compute.types import NodeState

from tests.mgmt_server import build_zone, create_network, eventually, ready_template, run_server

pytestmark = pytest.mark.contract


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with run_server(tmp_path_factory.mktemp("libcloud")) as server:
        api = server.client()
        zone = build_zone(api)
        eventually(lambda: {vm["state"] for vm in api.listSystemVms().get("systemvm", [])} == {"Running"})
        ready_template(api, zone)
        create_network(api, zone, "net1")
        place = urlsplit(server.endpoint)
        yield CloudStackNodeDriver(
            *server.keys(), secure=False, host=place.hostname, port=place.port, path=place.path
        )


@pytest.fixture(scope="module")
def node(driver: Any) -> Any:
    size = next(size for size in driver.list_sizes() if size.name == "Tiny Instance")
    (image,) = driver.list_images()
    return driver.create_node(
        name="web",
        size=size,
        image=image,
        location=driver.list_locations()[0],
        networks=driver.ex_list_networks(),
        ex_start_vm=True,  # this client's default is to create it stopped
    )


def test_a_node_runs_and_is_listed(driver: Any, node: Any) -> None:
    (listed,) = driver.list_nodes()
    assert (listed.id, listed.name, listed.state) == (node.id, "web", NodeState.RUNNING)
    assert listed.private_ips == ["10.1.1.2"]


def test_it_stops_starts_and_reboots(driver: Any, node: Any) -> None:
    assert driver.ex_stop(node) == "Stopped"
    assert driver.ex_start(node) == "Running"
    assert driver.reboot_node(node) is True


def test_ports_are_forwarded_and_opened(driver: Any, node: Any) -> None:
    (address,) = driver.ex_list_public_ips()
    forward = driver.ex_create_port_forwarding_rule(
        node, address, private_port=80, public_port=8080, protocol="TCP", openfirewall=False
    )
    assert [rule.id for rule in driver.ex_list_port_forwarding_rules()] == [forward.id]
    opened = driver.ex_create_firewall_rule(address, "0.0.0.0/0", "TCP", start_port=8080, end_port=8080)
    assert [rule.id for rule in driver.ex_list_firewall_rules()] == [opened.id]
    assert driver.ex_delete_firewall_rule(opened) is True
    assert driver.ex_delete_port_forwarding_rule(node, forward) is True


def test_an_ip_forwarding_rule_opens_an_address_with_static_nat(driver: Any, node: Any) -> None:
    address = driver.ex_allocate_public_ip(network_id=driver.ex_list_networks()[0].id)
    # The driver has no call of its own for static NAT.
    driver._sync_request("enableStaticNat", params={"ipaddressid": address.id, "virtualmachineid": node.id})
    rule = driver.ex_create_ip_forwarding_rule(node, address, "TCP", 443)
    assert [item.id for item in driver.ex_list_ip_forwarding_rules()] == [rule.id]
    assert driver.ex_delete_ip_forwarding_rule(node, rule) is True


def test_a_volume_is_attached_and_goes(driver: Any, node: Any) -> None:
    volume = driver.create_volume(5, "data")
    assert driver.attach_volume(node, volume) is True
    (listed,) = [item for item in driver.list_volumes() if item.id == volume.id]
    assert listed.extra["instance_id"] == node.id
    assert driver.detach_volume(listed) is True
    assert driver.destroy_volume(listed) is True


def test_keys_come_and_go(driver: Any) -> None:
    pair = driver.create_key_pair("laptop")
    assert "PRIVATE KEY" in pair.private_key
    assert [item.name for item in driver.list_key_pairs()] == ["laptop"]
    driver.delete_key_pair(pair)
    assert driver.list_key_pairs() == []


def test_what_is_refused_is_said(driver: Any, node: Any) -> None:
    driver.ex_stop(node)
    with pytest.raises(ProviderError, match="Stopped"):
        driver.ex_stop(node)


def test_the_end(driver: Any, node: Any) -> None:
    assert driver.destroy_node(node, ex_expunge=True) is True
    assert driver.list_nodes() == []
