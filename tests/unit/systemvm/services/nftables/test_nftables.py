"""Firewall and NAT: every mistake named, the ruleset as the golden one, linear in the number of rules."""

import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from systemvm.engine.service import Rendering
from systemvm.engine.testing import RecordedRunner, recorded_doors
from systemvm.services.nftables import SERVICE
from systemvm.services.nftables.reads import READS
from systemvm.services.nftables.sets import DESTINATION, PORT, PROTOCOL, SOURCE, interval_set
from systemvm.spec.appliances import Console
from systemvm.spec.network import (
    Balancer,
    EgressPolicy,
    EgressRule,
    Haproxy,
    IngressRule,
    Nftables,
    SourceNat,
    StaticNat,
)
from systemvm.spec.types import Protocol
from tests.unit.golden import assert_golden
from tests.unit.systemvm.services.router_state import (
    FORWARD,
    INGRESS,
    NFTABLES,
    RANGE,
    STATIC,
    ports,
    router_state,
    told,
    uuid,
)

pytestmark = pytest.mark.unit
GOLDEN = Path(__file__).parent / "golden"


def problems_of(**changes: object) -> dict[str, str]:
    return told(SERVICE.check(router_state(nftables=replace(NFTABLES, **changes))))


def test_the_rendered_ruleset_is_the_golden_one() -> None:
    (file,) = SERVICE.render(router_state()).files
    assert file.mode == 0o600
    assert_golden(file, GOLDEN / "ruleset.nft")


def test_an_empty_section_drops_all_but_what_the_machine_serves() -> None:
    state = router_state(nftables=Nftables(), dnsmasq=None, metadata=None, haproxy=None)
    (file,) = SERVICE.render(state).files
    assert_golden(file, GOLDEN / "empty.nft")


def test_a_good_section_has_no_problems() -> None:
    assert problems_of() == {}


def test_overlapping_forwards_name_both() -> None:
    other = replace(RANGE, id=uuid(22), public_ports=ports(5010, 5012), private_ports=ports(1, 3))
    wide = replace(FORWARD, id=uuid(23), public_ports=ports(2000, 3000), private_ports=ports(2000, 3000))
    found = problems_of(port_forwards=(FORWARD, RANGE, other, wide))
    assert set(found) == {"nftables.port_forwards[2].public_ports", "nftables.port_forwards[0].public_ports"}
    assert f"{uuid(22)}: 5010-5012/udp of 203.0.113.5 overlaps 5000-5010 of {uuid(21)}" in found.values()
    assert f"{uuid(20)}: 2222-2222/tcp of 203.0.113.5 overlaps 2000-3000 of {uuid(23)}" in found.values()
    elsewhere = replace(other, public="203.0.113.7")
    assert problems_of(port_forwards=(FORWARD, RANGE, elsewhere)) == {}


def test_forward_mistakes() -> None:
    bad = (
        replace(FORWARD, public="203.0.113.6"),
        replace(FORWARD, id=uuid(71), protocol=Protocol.icmp, public_ports=ports(1), private="169.254.0.9"),
        replace(FORWARD, id=uuid(72), public_ports=ports(90, 80), private_ports=ports(1, 2)),
        replace(FORWARD, id=uuid(73), public_ports=ports(100, 105), private="10.1.1.999"),
        replace(FORWARD, id=uuid(73), public="203.0.113.7", public_ports=ports(80), private_ports=ports(80)),
    )
    found = problems_of(port_forwards=bad)
    assert f"belongs to static NAT {STATIC.id}" in found["nftables.port_forwards[0].public"]
    assert "only tcp and udp" in found["nftables.port_forwards[1].protocol"]
    assert "cannot be a guest's" in found["nftables.port_forwards[1].private"]
    assert "ends before it begins" in found["nftables.port_forwards[2].public_ports"]
    assert "1 private ports for 6 public" in found["nftables.port_forwards[3].private_ports"]
    assert "10.1.1.999 is not an IPv4 address" in found["nftables.port_forwards[3].private"]
    assert "also the id of port_forwards[3]" in found["nftables.port_forwards[4].id"]
    assert f"belongs to balancer {uuid(60)}" in found["nftables.port_forwards[4].public_ports"]


def test_nat_mistakes() -> None:
    found = problems_of(
        source_nat=(
            SourceNat(network="10.1.1.0/24", interface="eth2", public="203.0.113.5"),
            SourceNat(network="10.1.1.7/24", interface="eth9", public="224.0.0.1"),
            SourceNat(network="10.1.0.0/16", interface="eth2", public="203.0.113.5"),
        ),
        static_nat=(
            STATIC,
            StaticNat(id=uuid(11), public="203.0.113.6", private="10.1.1.12"),
            StaticNat(id=uuid(12), public="203.0.113.5", private="10.1.1.11"),
            StaticNat(id=uuid(13), public="203.0.113.7", private="10.1.1.13"),
        ),
        port_forwards=(),
    )
    assert "guest NIC, not a public one" in found["nftables.source_nat[0].interface"]
    assert "there are: eth1, eth2" in found["nftables.source_nat[1].interface"]
    assert "the network is 10.1.1.0/24" in found["nftables.source_nat[1].network"]
    assert "cannot be a public address" in found["nftables.source_nat[1].public"]
    assert "overlaps 10.1.1.0/24 of source_nat[0]" in found["nftables.source_nat[2].network"]
    assert f"already static NAT {STATIC.id}" in found["nftables.static_nat[1].public"]
    assert f"already has static NAT {STATIC.id}" in found["nftables.static_nat[2].private"]
    assert "source NAT address" in found["nftables.static_nat[2].public"]
    assert "address of balancer" in found["nftables.static_nat[3].public"]


def test_match_mistakes() -> None:
    found = problems_of(
        ingress=(
            replace(INGRESS, protocol=Protocol.icmp),
            IngressRule(id=uuid(2), public="203.0.113.5", protocol=Protocol.udp, icmp_type=8, sources=()),
            IngressRule(id=uuid(3), public="127.0.0.1", protocol=Protocol.icmp, icmp_type=256, icmp_code=-2),
            IngressRule(
                id=uuid(4), public="203.0.113.5", protocol=Protocol.icmp, icmp_code=3, sources=("::/0",)
            ),
        ),
        egress=(
            EgressRule(id=uuid(5), interface="eth1", protocol=Protocol.all, ports=ports(1)),
            EgressRule(id=uuid(6), interface="eth2", protocol=Protocol.tcp, destinations=("10.0.0.1/8",)),
        ),
        egress_policies=(
            EgressPolicy(interface="eth2", allow=True),
            EgressPolicy(interface="eth2", allow=False),
        ),
    )
    assert set(found) == {
        "nftables.ingress[0].ports",
        "nftables.ingress[1].icmp_type",
        "nftables.ingress[1].sources",
        "nftables.ingress[2].public",
        "nftables.ingress[2].icmp_type",
        "nftables.ingress[2].icmp_code",
        "nftables.ingress[3].icmp_code",
        "nftables.ingress[3].sources[0]",
        "nftables.egress[0].interface",
        "nftables.egress[0].ports",
        "nftables.egress[1].destinations[0]",
        "nftables.egress_policies[1].interface",
    }


def test_too_much_overlap_is_said_before_it_is_rendered() -> None:
    nested = tuple(
        IngressRule(
            id=uuid(i),
            public="203.0.113.5",
            protocol=Protocol.tcp,
            ports=ports(1, i + 1),
            sources=(f"10.{i // 128}.{i % 128 * 2}.0/24",),
        )
        for i in range(1000)
    )
    found = problems_of(ingress=nested)
    assert "overlap so much" in found["nftables.ingress"]


def test_too_many_moved_ports_are_said() -> None:
    moved = tuple(
        replace(
            FORWARD,
            id=uuid(i),
            public=f"203.0.113.{i}",
            public_ports=ports(1, 60000),
            private_ports=ports(2, 60001),
        )
        for i in range(20, 24)
    )
    assert "240000 ports are moved" in problems_of(port_forwards=moved)["nftables.port_forwards"]


def test_rendering_is_linear() -> None:
    def seconds(count: int) -> float:
        rules = tuple(
            replace(INGRESS, id=uuid(i), public=f"203.0.{113 + i // 5000}.5", ports=ports(1 + i % 5000 * 2))
            for i in range(count)
        )
        state = router_state(nftables=replace(NFTABLES, ingress=rules))
        started = time.process_time()
        text = SERVICE.render(state).files[0].text
        assert text.count("203.0.11") >= count
        return time.process_time() - started

    seconds(1000)
    assert seconds(20_000) < 30 * max(seconds(2000), 0.02)


def test_the_most_telling_field_comes_first() -> None:
    rows = [("tcp", str(port), "10.0.0.0", "203.0.113.5") for port in range(3)]
    made = interval_set("x", (PROTOCOL, PORT, SOURCE, DESTINATION), rows)
    assert made.elements[0] == "0 . tcp . 10.0.0.0 . 203.0.113.5"
    assert made.key == "th dport . meta l4proto . ip saddr . ip daddr"
    assert made.type == "inet_service . inet_proto . ipv4_addr . ipv4_addr"


def test_served_ports_follow_the_other_sections() -> None:
    def text(**sections: object) -> str:
        return SERVICE.render(router_state(**sections)).files[0].text

    assert '"eth2" . udp . 67' in text()
    assert '"eth2" . udp . 67' not in text(dnsmasq=None)
    assert '"eth2" . tcp . 8080' in text()
    assert '"eth2" . tcp . 8080' not in text(metadata=None)
    assert "203.0.113.7 . tcp . 80" in text()
    balancer = Haproxy(balancers=(Balancer(id=uuid(60), address="203.0.113.7", port=443),))
    assert "203.0.113.7 . tcp . 443" in text(haproxy=balancer)
    assert '"link0" . tcp . 8443' in text()


def test_apply_loads_the_file_and_off_removes_the_tables(tmp_path: Path) -> None:
    doors = recorded_doors(tmp_path)
    assert isinstance(doors.run, RecordedRunner)
    new = SERVICE.render(router_state())
    SERVICE.apply(new, Rendering(), doors)
    assert doors.run.calls[0] == ("nft", "-f", str(tmp_path / "etc/pileus/nftables/ruleset.nft"))
    assert doors.run.calls[1][:2] == ("conntrack", "-L")
    SERVICE.apply(Rendering(), new, doors)
    assert doors.run.calls[-1] == ("nft", "-f", "-")
    assert "delete table inet pileus\n" in (doors.run.stdins[-1] or "")


def test_usage_of_an_address_that_was_only_received_from(tmp_path: Path) -> None:
    from systemvm.engine.command import Result

    doors = recorded_doors(tmp_path)
    assert isinstance(doors.run, RecordedRunner)
    elem = '{"elem": {"val": "203.0.113.5", "counter": {"packets": 2, "bytes": 120}}}'
    full = f'{{"nftables": [{{"metainfo": {{}}}}, {{"set": {{"name": "received", "elem": [{elem}]}}}}]}}'
    empty = '{"nftables": [{"metainfo": {}}, {"set": {"name": "sent"}}]}'
    head = ("nft", "-j", "list", "set", "inet", "pileus_usage")
    doors.run.answers[(*head, "received")] = Result(full, "")
    doors.run.answers[(*head, "sent")] = Result(empty, "")
    assert READS["usage"](doors) == [
        {
            "address": "203.0.113.5",
            "received_bytes": 120,
            "received_packets": 2,
            "sent_bytes": 0,
            "sent_packets": 0,
        }
    ]


def test_a_console_proxy_is_open_on_its_port_alone() -> None:
    console = Console(
        address="203.0.113.5",
        certificate="",
        key="",
        ticket_key="",
        client_certificate="",
        client_key="",
        server_ca="",
    )
    state = router_state(nftables=Nftables(), dnsmasq=None, metadata=None, haproxy=None, console=console)
    text = SERVICE.render(state).files[0].text
    assert text.count("203.0.113.5 . tcp . 443") == 2, "open before the ingress rules, and let in"
    assert told(SERVICE.check(state)) == {}
