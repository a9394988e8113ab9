"""The host's ruleset: the rules that must never be missing, and what a state may not say."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from appliance.hostagent.config import HostAgentConfig
from appliance.hostagent.firewall import Forwarding, render_firewall
from appliance.hostagent.networks import check_state
from systemvm.spec.host import Bridge, GuestNetwork, HostState

pytestmark = pytest.mark.unit
HOST = str(uuid4())
BRIDGES = (
    Bridge(name="cloud0", addresses=("169.254.0.1/16",)),
    Bridge(name="mgmt0", addresses=("172.31.240.1/24",)),
    Bridge(name="public0", addresses=("172.31.241.1/24",)),
)


def config() -> HostAgentConfig:
    return HostAgentConfig(
        host=HOST, name="h", management_address="172.31.240.1", certificate="", key="", client_ca="",
        pools={}, acceleration="qemu",
    )  # fmt: skip


def state(**changes: Any) -> HostState:
    values: dict[str, Any] = {"generation": 1, "host": HOST, "bridges": BRIDGES}
    return HostState(**(values | changes))


def lines(document: HostState) -> list[str]:
    return [line.strip() for line in render_firewall(document, config()).splitlines()]


def test_closed() -> None:
    network = GuestNetwork(id=str(uuid4()), vni=9)
    found = lines(state(networks=(network,)))
    assert 'elements = { "cloud0", "mgmt0", "public0", "brvx-9" }' in found
    assert 'iifname "mgmt0" tcp dport { 8445, 8446, 8447, 8448 } accept' in found
    assert not any('iifname "public0" tcp' in line or 'iifname "cloud0" tcp' in line for line in found)
    assert "iifname @bridges drop" in found
    assert not any("masquerade" in line for line in found)


def test_masquerade_is_for_public_networks_only() -> None:
    found = lines(state(masquerade="eth0"))
    assert [line for line in found if line.endswith("masquerade")] == [
        'ip saddr 172.31.241.0/24 oifname "eth0" masquerade'
    ]
    assert 'iifname "public0" oifname "eth0" accept' in found
    assert 'iifname "cloud0" oifname "eth0" accept' not in found


def test_a_bridge_with_an_uplink_is_left_to_the_operators_firewall() -> None:
    found = lines(state(bridges=(*BRIDGES, Bridge(name="lan0", uplink="eth1"))))
    assert 'elements = { "cloud0", "mgmt0", "public0" }' in found, "closed"
    assert 'elements = { "cloud0", "mgmt0", "public0", "lan0" }' in found, "bridges"


def test_no_bridges_is_a_valid_ruleset_without_elements() -> None:
    assert not any("elements" in line for line in lines(state(bridges=())))


def test_forwarding_is_put_back(tmp_path: Path) -> None:
    setting = tmp_path / "ip_forward"
    setting.write_text("0\n")
    forwarding = Forwarding(tmp_path / "before", setting)
    forwarding.restore()
    assert setting.read_text() == "0\n"
    forwarding.open()
    forwarding.open()
    assert setting.read_text() == "1"
    forwarding.restore()
    assert setting.read_text() == "0\n"


def test_every_mistake_of_a_state_is_named() -> None:
    bad = HostState(
        generation=1,
        host=str(uuid4()),
        ticket_key="key",
        masquerade='eth0"; drop',
        bridges=(
            Bridge(name="b0", addresses=("300.1.1.1/24",), uplink="a b"),
            Bridge(name="b0"),
        ),
        networks=(
            GuestNetwork(id=str(uuid4()), vni=9, peers=("999.1.1.1",)),
            GuestNetwork(id=str(uuid4()), vni=9),
        ),
    )
    assert [problem.path for problem in check_state(bad, config())] == [
        "host",
        "ticket_key",
        "masquerade",
        "bridges[0].uplink",
        "bridges[0].addresses[0]",
        "bridges[1].name",
        "networks[0].peers[0]",
        "networks[1].vni",
    ]
