"""The rules of a document as named sets and maps of nftables; every element is built from numbers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import TypeAlias

from systemvm.services.nftables.boxes import Box, Interval, TooManyBoxes, disjoint
from systemvm.services.nftables.layout import Layout
from systemvm.spec.network import EgressRule, IngressRule, Nftables, PortForward
from systemvm.spec.types import PortRange, Protocol

ANY_PORT: Interval = (0, 65535)
ANY_BYTE: Interval = (0, 255)
ANY_ADDRESS: Interval = (0, 2**32 - 1)
#: Elements that one set may have; the kernel takes a few seconds for them.
LIMIT = 100_000


@dataclass(frozen=True)
class NamedSet:
    """A set or, if `kind` is "map", a map; `flags` is empty or `interval`.

    `key` is the expression that looks a packet up in it, in the order of its fields.
    """

    kind: str
    name: str
    type: str
    elements: tuple[str, ...]
    flags: str = ""
    key: str = ""


@dataclass(frozen=True)
class Field:
    """A part of a packet: its type in nftables, and how it is read."""

    type: str
    expression: str


DESTINATION, SOURCE = Field("ipv4_addr", "ip daddr"), Field("ipv4_addr", "ip saddr")
PROTOCOL, PORT = Field("inet_proto", "meta l4proto"), Field("inet_service", "th dport")
ICMP_TYPE, ICMP_CODE = Field("icmp_type", "icmp type"), Field("icmp_code", "icmp code")
WHAT = {"ports": (PROTOCOL, PORT), "icmp": (ICMP_TYPE, ICMP_CODE), "any": ()}
Row: TypeAlias = tuple[str, ...]


def interval_set(name: str, fields: Sequence[Field], rows: Sequence[Row], target: str = "") -> NamedSet:
    """A set of concatenated intervals; with a `target` type a map, whose rows end with the target.

    The kernel narrows down field by field, for lookups and for each insertion. With the most telling
    field first, 10,000 elements load in 0.3 s; with one that all elements share, in 2 s and quadratic.
    """
    distinct = [len({row[i] for row in rows}) for i in range(len(fields))]
    order = sorted(range(len(fields)), key=lambda i: -distinct[i])
    kind, ending = ("map", f" : {target}") if target else ("set", "")
    elements = [" . ".join(row[i] for i in order) + (f" : {row[-1]}" if target else "") for row in rows]
    return NamedSet(
        kind=kind,
        name=name,
        type=" . ".join(fields[i].type for i in order) + ending,
        elements=tuple(elements),
        flags="interval",
        key=" . ".join(fields[i].expression for i in order),
    )


def addresses(values: Iterable[str]) -> list[Interval]:
    """CIDRs as intervals of integers; none means any."""
    networks = [IPv4Network(value) for value in values]
    return [(int(net.network_address), int(net.broadcast_address)) for net in networks] or [ANY_ADDRESS]


def ports(value: PortRange | None) -> Interval:
    """A range of ports as an interval; None means any."""
    return (value.first, value.last) if value else ANY_PORT


def byte(value: int) -> Interval:
    """An ICMP type or code; -1 means any."""
    return ANY_BYTE if value < 0 else (value, value)


def ingress_sets(rules: Iterable[IngressRule], limit: int = LIMIT) -> list[NamedSet]:
    """Who may reach which public address: by port, by ICMP type, by anything. Raises TooManyBoxes."""
    groups: dict[tuple[int, Protocol], list[Box]] = {}
    for rule in rules:
        group = groups.setdefault((int(IPv4Address(rule.public)), rule.protocol), [])
        group.extend((*what_of(rule), source) for source in addresses(rule.sources))
    rows: dict[str, list[Row]] = {kind: [] for kind in WHAT}
    for (public, protocol), boxes in sorted(groups.items()):
        kind = _kind(protocol)
        rows[kind] += _rows(protocol, disjoint(boxes, limit), str(IPv4Address(public)))
        if len(rows[kind]) > limit:
            raise TooManyBoxes
    return [
        interval_set(f"ingress-{kind}", (*what, SOURCE, DESTINATION), rows[kind])
        for kind, what in WHAT.items()
    ]


def egress_sets(link: str, rules: Iterable[EgressRule], limit: int = LIMIT) -> list[NamedSet]:
    """What the exceptions of one guest link cover. Raises TooManyBoxes."""
    groups: dict[Protocol, list[Box]] = {}
    for rule in rules:
        group = groups.setdefault(rule.protocol, [])
        for source in addresses(rule.sources):
            group.extend((*what_of(rule), target, source) for target in addresses(rule.destinations))
    rows: dict[str, list[Row]] = {kind: [] for kind in WHAT}
    for protocol, boxes in sorted(groups.items()):
        rows[_kind(protocol)] += _rows(protocol, disjoint(boxes, limit))
    return [
        interval_set(f"egress-{link}-{kind}", (*what, DESTINATION, SOURCE), rows[kind])
        for kind, what in WHAT.items()
    ]


def what_of(rule: IngressRule | EgressRule) -> Box:
    """Ports of a rule, or ICMP type and code; nothing for all protocols."""
    if rule.protocol is Protocol.icmp:
        return (byte(rule.icmp_type), byte(rule.icmp_code))
    return () if rule.protocol is Protocol.all else (ports(rule.ports),)


def _kind(protocol: Protocol) -> str:
    return {Protocol.icmp: "icmp", Protocol.all: "any"}.get(protocol, "ports")


def _rows(protocol: Protocol, boxes: Iterable[Box], *last: str) -> Iterable[Row]:
    """Boxes as text: ports after their protocol, or ICMP type and code; then addresses, then `last`."""
    kind = _kind(protocol)
    count = len(WHAT[kind]) - (kind == "ports")
    first = (protocol.value,) if kind == "ports" else ()
    for box in boxes:
        yield (*first, *map(_number, box[:count]), *map(_address, box[count:]), *last)


def forward_maps(forwards: Iterable[PortForward]) -> list[NamedSet]:
    """Port forwards: ranges that keep their ports as intervals, others port by port.

    The kernel moves a range of ports to another one at random, not in order; so such a range is written
    out.
    """
    single: list[str] = []
    kept: list[Row] = []
    for rule in forwards:
        public, private = str(IPv4Address(rule.public)), str(IPv4Address(rule.private))
        what, protocol = rule.public_ports, rule.protocol.value
        if rule.public_ports == rule.private_ports and what.first != what.last:
            kept.append((public, protocol, _number(ports(what)), private))
            continue
        shift = rule.private_ports.first - what.first
        single += [
            f"{public} . {protocol} . {port} : {private} . {port + shift}"
            for port in range(what.first, what.last + 1)
        ]
    key = "ipv4_addr . inet_proto . inet_service"
    return [
        NamedSet("map", "forwards", f"{key} : ipv4_addr . inet_service", tuple(single)),
        interval_set("forwarded-ranges", (DESTINATION, PROTOCOL, PORT), kept, target="ipv4_addr"),
    ]


def nat_maps(section: Nftables) -> list[NamedSet]:
    """Static NAT both ways, and source NAT per public link."""
    static = [(str(IPv4Address(r.public)), str(IPv4Address(r.private))) for r in section.static_nat]
    inward = tuple(f"{public} : {private}" for public, private in static)
    outward = tuple(f"{private} : {public}" for public, private in static)
    made = [
        NamedSet("map", "static-nat-in", "ipv4_addr : ipv4_addr", inward),
        NamedSet("map", "static-nat-out", "ipv4_addr : ipv4_addr", outward),
    ]
    links: dict[str, list[str]] = {}
    for rule in section.source_nat:
        line = f"{IPv4Network(rule.network)} : {IPv4Address(rule.public)}"
        links.setdefault(rule.interface, []).append(line)
    for link, lines in links.items():
        made.append(NamedSet("map", f"source-nat-{link}", "ipv4_addr : ipv4_addr", tuple(lines), "interval"))
    return made


def layout_sets(layout: Layout) -> list[NamedSet]:
    """Links, public addresses, and the ports that the machine itself serves."""
    served = (*layout.open_addresses, *layout.balanced)
    by_address = "ipv4_addr . inet_proto . inet_service"
    return [
        NamedSet("set", "public-links", "ifname", _names(layout.public_links)),
        NamedSet("set", "guest-links", "ifname", _names(layout.guest_links)),
        NamedSet("set", "metadata-links", "ifname", _names(layout.metadata_links)),
        NamedSet("set", "public-addresses", "ipv4_addr", layout.public_addresses),
        NamedSet("set", "served-links", "ifname . inet_proto . inet_service", _names_first(layout.by_link)),
        NamedSet("set", "open-addresses", by_address, _joined(layout.open_addresses)),
        NamedSet("set", "served-addresses", by_address, _joined(dict.fromkeys(served))),
        NamedSet(
            "set", "peers", "ifname . ipv4_addr", tuple(f'"{p.link}" . {p.address}' for p in layout.peers)
        ),
    ]


def _names(links: Iterable[str]) -> tuple[str, ...]:
    return tuple(f'"{link}"' for link in dict.fromkeys(links))


def _names_first(served: Iterable[tuple[str, str, int]]) -> tuple[str, ...]:
    return tuple(f'"{link}" . {protocol} . {port}' for link, protocol, port in served)


def _joined(served: Iterable[tuple[str, str, int]]) -> tuple[str, ...]:
    return tuple(f"{address} . {protocol} . {port}" for address, protocol, port in served)


def _number(interval: Interval) -> str:
    first, last = interval
    return str(first) if first == last else f"{first}-{last}"


def _address(interval: Interval) -> str:
    first, last = interval
    return str(IPv4Address(first)) if first == last else f"{IPv4Address(first)}-{IPv4Address(last)}"
