"""Existing connections that the rules of a new document would not have let in, or would have sent elsewhere.

nftables decides about a connection once, at its first packet. So that a removed rule also ends what it
once allowed, every tracked connection is judged here again, and only those that fail are deleted.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import TypeVar

from systemvm.services.nftables.boxes import Box, Interval
from systemvm.services.nftables.policy import Policy
from systemvm.services.nftables.sets import addresses, what_of
from systemvm.spec.network import EgressRule, IngressRule
from systemvm.spec.types import Protocol

Rule = TypeVar("Rule")
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Flow:
    """A tracked connection: as its first packet was sent, and where answers come from and go to.

    For ICMP the ports are 0, and `icmp_type` and `icmp_code` are the first packet's.
    """

    protocol: str
    source: str
    destination: str
    reply_source: str
    reply_destination: str
    source_port: int = 0
    destination_port: int = 0
    reply_source_port: int = 0
    reply_destination_port: int = 0
    icmp_type: int = 0
    icmp_code: int = 0
    #: ICMP has an identifier instead of ports; needed to delete it.
    icmp_id: int = 0


@dataclass(frozen=True)
class _Range:
    """What a rule covers: protocol; ports, or ICMP type and code; sources; destinations."""

    protocol: Protocol
    what: Box
    sources: list[Interval]
    destinations: list[Interval]


class Rules:
    """Rules of one public address or one guest link; remembers which of them speak of a port.

    A router has far more connections than ports that are open.
    """

    def __init__(self, rules: Iterable[IngressRule | EgressRule]) -> None:
        self._ranges = [
            _Range(
                rule.protocol,
                what_of(rule),
                addresses(rule.sources),
                addresses(rule.destinations if isinstance(rule, EgressRule) else ()),
            )
            for rule in rules
        ]
        self._known: dict[tuple[str, tuple[int, ...]], list[_Range]] = {}

    def covers(self, flow: Flow) -> bool:
        """Whether any rule speaks of this connection."""
        is_icmp = flow.protocol == Protocol.icmp
        what = (flow.icmp_type, flow.icmp_code) if is_icmp else (flow.destination_port,)
        key = (flow.protocol, what)
        if key not in self._known:
            self._known[key] = [each for each in self._ranges if _speaks_of(each, flow.protocol, what)]
        return any(
            _is_in(flow.source, each.sources) and _is_in(flow.destination, each.destinations)
            for each in self._known[key]
        )


NO_RULES = Rules(())


class Judge:
    """Rules of a document, indexed by what a flow is looked up by."""

    def __init__(self, policy: Policy, former: Policy | None = None) -> None:
        section, layout = policy.section, policy.layout
        before = former or Policy()
        self._publics = {*layout.public_addresses, *before.layout.public_addresses}
        self._static_in = {rule.public: rule.private for rule in section.static_nat}
        self._static_out = {rule.private: rule.public for rule in section.static_nat}
        self._forwards = _group(section.port_forwards, lambda rule: (rule.public, rule.protocol.value))
        ingress = _group(section.ingress, lambda rule: rule.public)
        self._ingress = {public: Rules(rules) for public, rules in ingress.items()}
        self._open = {*layout.open_addresses}
        self._served = {*layout.open_addresses, *layout.balanced}
        self._guests = [(guest.link, IPv4Network(guest.network)) for guest in layout.guests]
        self._own = {guest.gateway for guest in layout.guests}
        egress = _group(section.egress, lambda rule: rule.interface)
        self._egress = {link: Rules(rules) for link, rules in egress.items()}
        self._allows = {item.interface: item.allow for item in section.egress_policies}
        self._source_nat = [(IPv4Network(rule.network), rule.public) for rule in section.source_nat]

    def is_stale(self, flow: Flow) -> bool:
        """Whether the flow must end. Flows of the machine itself are never judged."""
        if flow.destination in self._publics:
            return not self._is_let_in(flow) or not self._is_translated_in(flow)
        link = self._link_of(flow.source)
        if link is None or flow.destination in self._own or self._link_of(flow.destination):
            return False
        if flow.reply_source in self._own:
            # Translated to this machine: metadata.
            return False
        return not self._is_let_out(link, flow) or not self._is_translated_out(flow)

    def _is_let_in(self, flow: Flow) -> bool:
        key = (flow.destination, flow.protocol, flow.destination_port)
        if key in self._open or flow.protocol == "vrrp":
            return True
        return self._ingress.get(flow.destination, NO_RULES).covers(flow)

    def _is_translated_in(self, flow: Flow) -> bool:
        for rule in self._forwards.get((flow.destination, flow.protocol), ()):
            if rule.public_ports.first <= flow.destination_port <= rule.public_ports.last:
                port = flow.destination_port - rule.public_ports.first + rule.private_ports.first
                return (flow.reply_source, flow.reply_source_port) == (rule.private, port)
        target = self._static_in.get(flow.destination, flow.destination)
        return flow.reply_source == target

    def _is_let_out(self, link: str, flow: Flow) -> bool:
        return self._egress.get(link, NO_RULES).covers(flow) != self._allows.get(link, False)

    def _is_translated_out(self, flow: Flow) -> bool:
        source = IPv4Address(flow.source)
        public = self._static_out.get(flow.source) or next(
            (public for network, public in self._source_nat if source in network), flow.source
        )
        return flow.reply_destination == public

    def _link_of(self, address: str) -> str | None:
        parsed = IPv4Address(address)
        return next((link for link, network in self._guests if parsed in network), None)


def _group(rules: Iterable[Rule], key: Callable[[Rule], Key]) -> dict[Key, list[Rule]]:
    groups: dict[Key, list[Rule]] = {}
    for rule in rules:
        groups.setdefault(key(rule), []).append(rule)
    return groups


def _speaks_of(rule: _Range, protocol: str, what: tuple[int, ...]) -> bool:
    if rule.protocol is Protocol.all:
        return True
    return rule.protocol == protocol and all(map(_within, what, rule.what))


def _is_in(address: str, intervals: Iterable[Interval]) -> bool:
    number = int(IPv4Address(address))
    return any(_within(number, interval) for interval in intervals)


def _within(number: int, interval: Interval) -> bool:
    return interval[0] <= number <= interval[1]
