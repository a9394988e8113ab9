"""DHCP and DNS: every mistake named, every file as the golden one, leases read and judged."""

import struct
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from msgspec.structs import replace

from systemvm.engine.service import Rendering
from systemvm.engine.testing import RecordedDaemons, recorded_doors
from systemvm.services.dnsmasq import SERVICE, dhcp, dns
from systemvm.services.dnsmasq.leases import Lease, read_leases, remove_from_file, stale_leases
from systemvm.services.dnsmasq.reads import READS
from systemvm.spec.network import DhcpHost, DhcpSubnet, Dnsmasq
from tests.unit.golden import assert_golden
from tests.unit.systemvm.services.router_state import DNSMASQ, HOST_A, HOST_B, SUBNET, router_state, told

pytestmark = pytest.mark.unit
GOLDEN = Path(__file__).parent / "golden"
LEASES = """\
0 02:00:00:00:01:0a 10.1.1.10 vm-a ff:aa:00:01
1790000000 06-02:00:00:00:01:0b 10.1.1.11 * *
duid 00:01:00:01:2e
0 2 fd00::1 * 00:01
"""


def problems_of(**changes: object) -> dict[str, str]:
    return told(SERVICE.check(router_state(dnsmasq=replace(DNSMASQ, **changes))))


@pytest.mark.parametrize("index", range(3))
def test_the_rendered_files_are_the_golden_ones(index: int) -> None:
    file = SERVICE.render(router_state()).files[index]
    assert_golden(file, GOLDEN / Path(file.path).name)


def test_no_subnet_means_off() -> None:
    assert SERVICE.render(router_state(dnsmasq=Dnsmasq())) == Rendering()


def test_a_good_section_has_no_problems() -> None:
    assert problems_of() == {}


def test_another_host_is_the_same_daemon_and_another_main_file_is_not() -> None:
    def daemon(**changes: object) -> object:
        return SERVICE.render(router_state(dnsmasq=replace(DNSMASQ, **changes))).daemons[0]

    assert daemon() == daemon(hosts=(HOST_B,))
    assert daemon() != daemon(upstream=())
    assert daemon() != daemon(hosts=(HOST_A,)), "dnsmasq reads tags of secondary NICs only when it starts"


def test_no_host_line_has_a_tag() -> None:
    (hosts,) = (file for file in SERVICE.render(router_state()).files if file.path.endswith("dhcp-hosts"))
    assert "set:" not in hosts.text


def test_subnet_mistakes() -> None:
    bad = (
        replace(SUBNET, interface="eth1", network="203.0.113.0/24", gateway="203.0.113.5"),
        replace(SUBNET, network="10.1.0.0/16", gateway="10.2.0.1", domain="a..b", dns=("300.0.0.1",)),
        replace(SUBNET, network="10.1.1.1/24", domain="a" * 64),
        replace(SUBNET, interface="eth9", network="10.1.1.128/25", gateway="10.1.1.129"),
        replace(SUBNET, network="10.9.9.0/24", gateway="10.9.9.1"),
    )
    found = problems_of(subnets=bad, hosts=(), upstream=("10.1.1.1", "127.0.0.1", "1.2.3.4", "999.1.1.1"))
    assert set(found) == {
        "dnsmasq.subnets[0].interface",
        "dnsmasq.subnets[1].gateway",
        "dnsmasq.subnets[1].domain",
        "dnsmasq.subnets[1].dns[0]",
        "dnsmasq.subnets[2].network",
        "dnsmasq.subnets[2].domain",
        "dnsmasq.subnets[3].interface",
        "dnsmasq.subnets[3].network",
        "dnsmasq.subnets[4].network",
        "dnsmasq.upstream[0]",
        "dnsmasq.upstream[1]",
        "dnsmasq.upstream[3]",
    }
    assert "only guests are served" in found["dnsmasq.subnets[0].interface"]
    assert "has no address in 10.9.9.0/24" in found["dnsmasq.subnets[4].network"]


def test_host_mistakes() -> None:
    bad = (
        HOST_A,
        replace(HOST_A, hostname="VM-A"),
        replace(HOST_B, address="10.1.1.1", hostname="x"),
        replace(HOST_B, mac="01:00:00:00:00:01", address="10.1.2.9", hostname="y"),
        replace(HOST_B, mac="02:00:00:00:00:99", address="10.1.1.255", hostname="z"),
        replace(HOST_B, mac="02:00:00:00:00:98", interface="eth1", address="1.2.3.400"),
    )
    found = problems_of(hosts=bad)
    assert set(found) == {
        "dnsmasq.hosts[1].mac",
        "dnsmasq.hosts[1].address",
        "dnsmasq.hosts[1].hostname",
        "dnsmasq.hosts[2].address",
        "dnsmasq.hosts[3].mac",
        "dnsmasq.hosts[3].address",
        "dnsmasq.hosts[4].address",
        "dnsmasq.hosts[5].address",
        "dnsmasq.hosts[5].interface",
    }
    assert "also hosts[0]'s on eth2" in found["dnsmasq.hosts[1].mac"]


def test_the_same_name_in_two_networks_is_no_problem() -> None:
    guest2 = replace(
        router_state().interfaces.nics[1], mac="02:00:00:00:00:04", name="eth3", addresses=("10.2.2.1/24",)
    )
    nics = (*router_state().interfaces.nics, guest2)
    second = DhcpSubnet(interface="eth3", network="10.2.2.0/24", gateway="10.2.2.1", domain="cs2.internal")
    twin = DhcpHost(interface="eth3", mac=HOST_A.mac, address="10.2.2.10", hostname=HOST_A.hostname)
    state = router_state(
        interfaces=replace(router_state().interfaces, nics=nics),
        dnsmasq=replace(DNSMASQ, subnets=(SUBNET, second), hosts=(HOST_A, twin)),
    )
    assert SERVICE.check(state) == []
    names = SERVICE.render(state).files[2].text.splitlines()
    assert "10.1.1.10 vm-a.cs1.internal" in names
    assert "10.2.2.10 vm-a.cs2.internal" in names
    assert "10.2.2.1 data-server.cs2.internal data-server" in names


@pytest.fixture
def leases(tmp_path: Path) -> Path:
    path = tmp_path / "var/lib/pileus/dnsmasq/leases"
    path.parent.mkdir(parents=True)
    path.write_text(LEASES)
    return path


A = Lease(0, "02:00:00:00:01:0a", "10.1.1.10", "vm-a", "ffaa0001")
B = Lease(1790000000, "02:00:00:00:01:0b", "10.1.1.11", "", "")


def test_lease_file(leases: Path) -> None:
    assert read_leases(leases) == [A, B]
    assert read_leases(leases.with_name("absent")) == []
    assert stale_leases([A, B], [("10.1.1.10", A.mac), ("10.1.1.12", B.mac)]) == [B]
    remove_from_file(leases, [A])
    assert leases.read_text() == "".join(LEASES.splitlines(keepends=True)[1:])


def test_leases_can_be_read_through_the_agent(leases: Path, tmp_path: Path) -> None:
    assert [row["address"] for row in READS["leases"](recorded_doors(tmp_path))] == ["10.1.1.10", "10.1.1.11"]


def test_apply_starts_reloads_and_forgets(leases: Path, tmp_path: Path) -> None:
    doors = recorded_doors(tmp_path)
    assert isinstance(doors.daemons, RecordedDaemons)
    first = SERVICE.render(router_state(dnsmasq=replace(DNSMASQ, hosts=(HOST_B,))))
    SERVICE.apply(first, Rendering(), doors)
    assert doors.daemons.calls == [("start", "dnsmasq")]
    assert read_leases(leases) == [B]
    second = SERVICE.render(router_state())
    SERVICE.apply(second, first, doors)
    assert doors.daemons.calls[1:] == [("reload", "dnsmasq")]
    SERVICE.apply(second, second, doors)
    assert doors.daemons.calls[2:] == []
    third = SERVICE.render(router_state(dnsmasq=replace(DNSMASQ, upstream=())))
    SERVICE.apply(third, second, doors)
    assert doors.daemons.calls[2:] == [("stop", "dnsmasq"), ("start", "dnsmasq")]


def test_dnsmasq_that_does_not_let_go_is_restarted_without_the_lease(
    leases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib

    applying = importlib.import_module("systemvm.services.dnsmasq.apply")
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(applying, "release", lambda *lease: asked.append(lease))
    monkeypatch.setattr(applying, "RELEASE_SECONDS", 0.0)
    monkeypatch.setattr(applying, "_POLL", 0.0)
    doors = recorded_doors(tmp_path)
    assert isinstance(doors.daemons, RecordedDaemons)
    both = SERVICE.render(router_state())
    SERVICE.apply(both, Rendering(), doors)
    monkeypatch.setattr(applying, "RELEASE_SECONDS", 0.01)
    only_b = SERVICE.render(router_state(dnsmasq=replace(DNSMASQ, hosts=(HOST_B,))))
    SERVICE.apply(only_b, both, doors)
    assert asked[0] == ("eth2", IPv4Address("10.1.1.1"), A.mac, IPv4Address("10.1.1.10"), "ffaa0001")
    assert doors.daemons.calls[1:] == [("reload", "dnsmasq"), ("stop", "dnsmasq"), ("start", "dnsmasq")]
    assert read_leases(leases) == [B]


def offer(transaction: bytes, address: str, kind: int = 2) -> bytes:
    message = bytearray(dhcp._FIXED.size)
    message[4:8], message[16:20], message[236:240] = transaction, IPv4Address(address).packed, dhcp._MAGIC
    return b"\x45" + bytes(19) + bytes(8) + bytes(message) + bytes([53, 1, kind, 255])


def test_only_the_offer_to_this_question_counts() -> None:
    assert dhcp._parse_offer(offer(b"abcd", "10.1.1.10"), b"abcd") == IPv4Address("10.1.1.10")
    assert dhcp._parse_offer(offer(b"abcd", "10.1.1.10"), b"abce") is None
    assert dhcp._parse_offer(offer(b"abcd", "10.1.1.10", kind=6), b"abcd") is None
    assert dhcp._parse_offer(b"\x45" + bytes(30), b"abcd") is None


def test_dns_answer_with_alias_and_pointer() -> None:
    question = dns._name("vm-a.cs1.internal.")
    assert question == b"\x04vm-a\x03cs1\x08internal\x00"
    head = bytes(12) + question + struct.pack("!HH", 1, 1)
    alias = b"\xc0\x0c" + struct.pack("!HHIH", 5, 1, 60, 2) + b"\xc0\x0c"
    address = question + struct.pack("!HHIH", 1, 1, 60, 4) + bytes([10, 1, 1, 10])
    assert dns._addresses(head + alias + address, len(head), 2) == [IPv4Address("10.1.1.10")]
