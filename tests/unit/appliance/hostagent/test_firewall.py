"""The host's ruleset: the rules that must never be missing, and what a state may not say."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from appliance.hostagent.config import HostAgentConfig
from appliance.hostagent.firewall import render_firewall
from appliance.hostagent.forwarding import Forwarding
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


def lines(document: HostState, *, is_router: bool = False) -> list[str]:
    ruleset = render_firewall(document, config(), is_router=is_router)
    return [line.strip() for line in ruleset.splitlines()]


def test_closed() -> None:
    network = GuestNetwork(id=str(uuid4()), vni=9)
    found = lines(state(networks=(network,)))
    assert 'elements = { "cloud0", "mgmt0", "public0", "brvx-9" }' in found
    assert 'iifname "mgmt0" tcp dport { 8445, 8446, 8447, 8448, 8449 } accept' in found
    assert not any('iifname "public0" tcp' in line or 'iifname "cloud0" tcp' in line for line in found)
    assert "iifname @bridges drop" in found
    assert not any("masquerade" in line for line in found)


def test_masquerade_is_for_public_networks_only() -> None:
    found = lines(state(masquerade="eth0"))
    assert [line for line in found if line.endswith("masquerade")] == [
        'iifname "public0" oifname "eth0" ip saddr { 172.31.241.0/24 } masquerade'
    ]
    assert [line for line in found if 'oifname "eth0"' in line and line.endswith("accept")] == [
        'iifname "public0" oifname "eth0" ip saddr { 172.31.241.0/24 } accept'
    ]


def test_a_router_of_its_operators_will_keeps_routing_for_its_neighbours() -> None:
    neighbours = 'iifname "eth0" ct state new,invalid ct status & dnat != dnat drop'
    assert neighbours in lines(state(masquerade="eth0"))
    assert neighbours not in lines(state(masquerade="eth0"), is_router=True)
    assert not any("dnat" in line for line in lines(state()))


def test_a_bridge_with_an_uplink_is_left_to_the_operators_firewall() -> None:
    found = lines(state(bridges=(*BRIDGES, Bridge(name="lan0", uplink="eth1"))))
    assert 'elements = { "cloud0", "mgmt0", "public0" }' in found, "closed"
    assert 'elements = { "cloud0", "mgmt0", "public0", "lan0" }' in found, "bridges"


def test_no_bridges_is_a_valid_ruleset_without_elements() -> None:
    assert not any("elements" in line for line in lines(state(bridges=())))


class Sysctls:
    """A machine's /proc/sys with two interfaces."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "sys"
        self.forwarding = Forwarding(folder / "forwarding.json", self.root)
        for name in ("eth0", "public0"):
            (self.root / "net/ipv4/conf" / name).mkdir(parents=True)
        (self.root / "kernel/random").mkdir(parents=True)
        self.write("kernel/random/boot_id", "first")
        self.write("net/ipv4/ip_forward", "0")
        self.set("0", "0")

    def write(self, name: str, value: str) -> None:
        (self.root / name).write_text(f"{value}\n")

    def set(self, eth0: str, public0: str) -> None:
        self.write("net/ipv4/conf/eth0/forwarding", eth0)
        self.write("net/ipv4/conf/public0/forwarding", public0)

    def values(self) -> tuple[str, ...]:
        names = ("ip_forward", "conf/eth0/forwarding", "conf/public0/forwarding")
        return tuple((self.root / "net/ipv4" / name).read_text().strip() for name in names)


@pytest.fixture
def sysctls(tmp_path: Path) -> Sysctls:
    return Sysctls(tmp_path)


def test_forwarding_of_two_interfaces_is_put_back(sysctls: Sysctls) -> None:
    sysctls.forwarding.open_only([])
    assert sysctls.values() == ("0", "0", "0")
    for _ in range(2):
        sysctls.forwarding.open_only(["public0", "eth0"])
        assert sysctls.values() == ("0", "1", "1")
    sysctls.forwarding.open_only(["public0"])
    assert sysctls.values() == ("0", "0", "1"), "another uplink was chosen"
    sysctls.forwarding.open_only([])
    assert sysctls.values() == ("0", "0", "0")
    assert not sysctls.forwarding.record.exists()


def test_forwarding_that_others_switched_on_stays(sysctls: Sysctls) -> None:
    sysctls.set("1", "0")
    sysctls.forwarding.open_only(["public0", "eth0"])
    sysctls.forwarding.open_only([])
    assert sysctls.values() == ("0", "1", "0"), "it was on before"
    sysctls.set("0", "0")
    sysctls.forwarding.open_only(["public0", "eth0"])
    sysctls.write("net/ipv4/ip_forward", "1")
    sysctls.forwarding.open_only([])
    assert sysctls.values() == ("1", "1", "1"), "the machine was made a router meanwhile"


def test_forwarding_is_forgotten_by_a_reboot_and_survives_lost_interfaces(sysctls: Sysctls) -> None:
    sysctls.forwarding.open_only(["public0", "eth0"])
    sysctls.write("kernel/random/boot_id", "second")
    sysctls.set("1", "0")
    sysctls.forwarding.open_only(["public0"])
    (sysctls.root / "net/ipv4/conf/public0/forwarding").unlink()
    sysctls.forwarding.open_only([])
    assert (sysctls.root / "net/ipv4/conf/eth0/forwarding").read_text() == "1\n", "set in this boot by others"


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
