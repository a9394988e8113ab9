"""Connections judged by new rules: who must end, who may stay."""

import time
from dataclasses import replace as change
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from systemvm.engine.testing import RecordedRunner
from systemvm.services.nftables.conntrack import delete_flows, parse_flow
from systemvm.services.nftables.flows import Flow, Judge, Rules
from systemvm.services.nftables.layout import layout_of
from systemvm.services.nftables.policy import Policy
from systemvm.services.nftables.sets import NamedSet, ingress_sets
from systemvm.spec.network import EgressPolicy, IngressRule, Nftables
from systemvm.spec.types import Protocol
from tests.unit.systemvm.services.router_state import FORWARD, NFTABLES, ports, router_state, uuid

pytestmark = pytest.mark.unit

OUTSIDE = "192.0.2.7"
INWARD = Flow("tcp", OUTSIDE, "203.0.113.5", "10.1.1.10", OUTSIDE, 40000, 2222, 22, 40000)
STATIC_IN = Flow("udp", OUTSIDE, "203.0.113.6", "10.1.1.11", OUTSIDE, 40000, 53, 53, 40000)
OUTWARD = Flow("tcp", "10.1.1.10", OUTSIDE, OUTSIDE, "203.0.113.5", 50000, 443, 443, 50000)
STATIC_OUT = change(OUTWARD, source="10.1.1.11", reply_destination="203.0.113.6")
BALANCED = Flow("tcp", OUTSIDE, "203.0.113.7", "203.0.113.7", OUTSIDE, 40000, 80, 80, 40000)


def policy(section: Nftables = NFTABLES) -> Policy:
    return Policy(section, layout_of(router_state(nftables=section)))


def is_stale(flow: Flow, **changes: object) -> bool:
    return Judge(policy(replace(NFTABLES, **changes)), policy()).is_stale(flow)


@pytest.mark.parametrize("flow", [INWARD, STATIC_IN, OUTWARD, STATIC_OUT])
def test_what_the_rules_allow_stays(flow: Flow) -> None:
    assert not is_stale(flow)


def test_without_its_ingress_rule_it_ends() -> None:
    assert is_stale(INWARD, ingress=())
    assert is_stale(STATIC_IN, ingress=())
    assert is_stale(BALANCED)
    assert not is_stale(OUTWARD, ingress=())


def test_moved_or_removed_forward_ends_it() -> None:
    assert is_stale(INWARD, port_forwards=())
    assert is_stale(INWARD, port_forwards=(replace(FORWARD, private="10.1.1.11"),))
    assert not is_stale(STATIC_IN, port_forwards=())


def test_removed_or_added_static_nat_ends_what_it_translates() -> None:
    assert is_stale(STATIC_IN, static_nat=())
    assert is_stale(STATIC_OUT, static_nat=())
    assert is_stale(change(OUTWARD, source="10.1.1.11"))


def test_egress_policy_and_exceptions() -> None:
    deny = (EgressPolicy(interface="eth2", allow=False),)
    mail = change(OUTWARD, destination_port=25)
    assert is_stale(mail)
    assert is_stale(OUTWARD, egress_policies=deny)
    assert not is_stale(mail, egress_policies=deny)
    assert is_stale(OUTWARD, egress_policies=())


def test_released_address_ends_its_connections() -> None:
    assert is_stale(STATIC_IN, static_nat=(), ingress=())


@pytest.mark.parametrize(
    "flow",
    [
        Flow("udp", "10.1.1.10", "10.1.1.1", "10.1.1.1", "10.1.1.10", 40000, 53, 53, 40000),
        Flow("tcp", "10.1.1.10", "169.254.169.254", "10.1.1.1", "10.1.1.10", 40000, 80, 80, 40000),
        Flow("tcp", "169.254.0.1", "169.254.7.7", "169.254.7.7", "169.254.0.1", 40000, 8443, 8443, 40000),
        Flow("udp", "203.0.113.5", OUTSIDE, OUTSIDE, "203.0.113.5", 40000, 53, 53, 40000),
    ],
)
def test_the_machines_own_connections_are_not_judged(flow: Flow) -> None:
    assert not is_stale(flow, ingress=(), port_forwards=(), egress_policies=(), source_nat=(), static_nat=())


def test_lines_of_conntrack() -> None:
    line = (
        "ipv4     2 tcp      6 431999 ESTABLISHED src=192.0.2.7 dst=203.0.113.5 sport=40000 dport=2222 "
        "src=10.1.1.10 dst=192.0.2.7 sport=22 dport=40000 [ASSURED] mark=0 use=1"
    )
    assert parse_flow(line) == INWARD
    ping = (
        "ipv4     2 icmp     1 29 src=10.1.1.10 dst=192.0.2.7 type=8 code=0 id=77 "
        "src=192.0.2.7 dst=203.0.113.5 type=0 code=0 id=77 mark=0 use=1"
    )
    assert parse_flow(ping) == Flow(
        "icmp", "10.1.1.10", "192.0.2.7", "192.0.2.7", "203.0.113.5", icmp_type=8, icmp_id=77
    )
    assert parse_flow("ipv6     10 tcp      6 src=::1 dst=::1 src=::1 dst=::1") is None
    assert parse_flow("") is None


def test_deletion_is_one_batch_and_none_for_nothing() -> None:
    run = RecordedRunner()
    delete_flows([], run)
    assert run.calls == []
    ping = Flow("icmp", "10.1.1.10", OUTSIDE, OUTSIDE, "203.0.113.5", icmp_type=8, icmp_id=77)
    delete_flows([INWARD, ping], run)
    assert run.calls == [("conntrack", "-R", "-")]
    assert run.stdins == [
        "-D -s 192.0.2.7 -d 203.0.113.5 -p tcp --sport 40000 --dport 2222\n"
        "-D -s 10.1.1.10 -d 192.0.2.7 -p icmp --icmp-type 8 --icmp-code 0 --icmp-id 77\n"
    ]


def test_many_connections_and_many_rules() -> None:
    """100,000 connections judged by 10,000 rules of one address: each port is looked up once."""
    rules = tuple(
        IngressRule(id=uuid(i), public="203.0.113.5", protocol=Protocol.tcp, ports=ports(1 + i))
        for i in range(10_000)
    )
    judge = Judge(policy(replace(NFTABLES, ingress=rules)))
    flows = [
        change(INWARD, source=f"198.51.{i // 250 % 250}.{i % 250}", source_port=i % 60_000)
        for i in range(100_000)
    ]
    started = time.process_time()
    assert not any(judge.is_stale(flow) for flow in flows)
    assert time.process_time() - started < 10


@given(
    st.lists(
        st.tuples(st.sampled_from(list(Protocol)), st.integers(0, 5), st.integers(0, 5), st.integers(0, 3))
    )
)
def test_rules_and_sets_agree(found: list[tuple[Protocol, int, int, int]]) -> None:
    """What ends a connection and what the kernel lets in are computed apart; they must never differ."""
    rules = []
    for i, (protocol, first, last, network) in enumerate(found):
        low, high = 10 + min(first, last), 10 + max(first, last)
        has_ports = protocol in (Protocol.tcp, Protocol.udp)
        rules.append(
            IngressRule(
                id=uuid(i),
                public="203.0.113.5",
                protocol=protocol,
                ports=ports(low, high) if has_ports else None,
                icmp_type=low if protocol is Protocol.icmp else -1,
                sources=(f"198.51.100.{network * 4}/{29 + network % 2}",) if network else ("0.0.0.0/0",),
            )
        )
    covered = Rules(rules)
    sets = {made.name: made for made in ingress_sets(rules)}
    for protocol in ("tcp", "udp", "icmp"):
        for port in range(9, 17):
            for last in range(0, 20, 3):
                flow = Flow(protocol, f"198.51.100.{last}", "203.0.113.5", "", "", destination_port=port)
                if protocol == "icmp":
                    flow = change(flow, destination_port=0, icmp_type=port)
                assert covered.covers(flow) == any(holds(made, flow) for made in sets.values())


def holds(made: NamedSet, flow: Flow) -> bool:
    """Whether the kernel would find the flow's first packet in the set."""
    packet = {
        "meta l4proto": flow.protocol,
        "th dport": flow.destination_port,
        "ip saddr": int(IPv4Address(flow.source)),
        "ip daddr": int(IPv4Address(flow.destination)),
        "icmp type": flow.icmp_type,
        "icmp code": flow.icmp_code,
    }
    if "icmp type" in made.key and flow.protocol != "icmp":
        return False
    values = [packet[expression] for expression in made.key.split(" . ")]
    return any(
        all(is_within(value, part) for value, part in zip(values, element.split(" . "), strict=True))
        for element in made.elements
    )


def is_within(value: int | str, part: str) -> bool:
    if isinstance(value, str):
        return value == part
    first, _, last = part.partition("-")
    low, high = (int(IPv4Address(end)) if "." in end else int(end) for end in (first, last or first))
    return low <= value <= high
