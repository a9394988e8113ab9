"""Problems of the `nftables` section."""

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import TypeAlias

from systemvm.engine.problems import LINK_LOCAL, Problems, nics_by_name
from systemvm.services.nftables.boxes import TooManyBoxes
from systemvm.services.nftables.sets import LIMIT, egress_sets, ingress_sets
from systemvm.spec.network import EgressRule, IngressRule, Nftables, Nic, PortForward
from systemvm.spec.state import State
from systemvm.spec.types import PortRange, Problem, Protocol, Purpose

Rule: TypeAlias = IngressRule | EgressRule
#: Ports that one document may move to other numbers; each is one element of a map.
SHIFTED_LIMIT = 200_000


def check(state: State) -> list[Problem]:
    """All problems of the section, each with its path."""
    section = state.nftables
    if section is None:
        return []
    problems = Problems("nftables")
    nics = nics_by_name(state)
    _check_ids(section, problems)
    _check_source_nat(section, nics, problems)
    _check_static_nat(section, problems)
    _check_port_forwards(section, problems)
    _check_balancers(state, section, problems)
    _check_ingress(section, problems)
    _check_egress(section, nics, problems)
    if not problems.found:
        _check_size(section, problems)
    return problems.found


def _check_ids(section: Nftables, problems: Problems) -> None:
    for name in ("static_nat", "port_forwards", "ingress", "egress"):
        seen: dict[str, int] = {}
        for i, rule in enumerate(getattr(section, name)):
            if rule.id in seen:
                problems.add(f"{name}[{i}].id", f"{rule.id} is also the id of {name}[{seen[rule.id]}]")
            seen.setdefault(rule.id, i)


def _check_source_nat(section: Nftables, nics: dict[str, Nic], problems: Problems) -> None:
    networks: list[tuple[IPv4Network, str, int]] = []
    for i, rule in enumerate(section.source_nat):
        path = f"source_nat[{i}]"
        _check_public(f"{path}.public", rule.public, problems)
        _check_link(f"{path}.interface", rule.interface, Purpose.public, nics, problems)
        network = problems.network(f"{path}.network", rule.network)
        if network is None:
            continue
        for other, link, j in networks:
            if link == rule.interface and other.overlaps(network):
                problems.add(f"{path}.network", f"{network} overlaps {other} of source_nat[{j}]")
        networks.append((network, rule.interface, i))


def _check_static_nat(section: Nftables, problems: Problems) -> None:
    publics: dict[str, str] = {}
    privates: dict[str, str] = {}
    sources = {rule.public: i for i, rule in enumerate(section.source_nat)}
    for i, rule in enumerate(section.static_nat):
        path = f"static_nat[{i}]"
        _check_public(f"{path}.public", rule.public, problems)
        _check_private(f"{path}.private", rule.private, problems)
        if rule.public in publics:
            problems.add(
                f"{path}.public", f"{rule.id}: {rule.public} is already static NAT {publics[rule.public]}"
            )
        if rule.private in privates:
            words = f"{rule.id}: {rule.private} already has static NAT {privates[rule.private]}"
            problems.add(f"{path}.private", words)
        if rule.public in sources:
            words = (
                f"{rule.id}: {rule.public} is the source NAT address of source_nat[{sources[rule.public]}]"
            )
            problems.add(f"{path}.public", words)
        publics.setdefault(rule.public, rule.id)
        privates.setdefault(rule.private, rule.id)


def _check_port_forwards(section: Nftables, problems: Problems) -> None:
    static = {rule.public: rule.id for rule in section.static_nat}
    for i, rule in enumerate(section.port_forwards):
        path = f"port_forwards[{i}]"
        _check_public(f"{path}.public", rule.public, problems)
        _check_private(f"{path}.private", rule.private, problems)
        if rule.protocol not in (Protocol.tcp, Protocol.udp):
            problems.add(
                f"{path}.protocol", f"{rule.id}: only tcp and udp have ports, not {rule.protocol.value}"
            )
        if rule.public in static:
            words = f"{rule.id}: {rule.public} belongs to static NAT {static[rule.public]}"
            problems.add(f"{path}.public", words)
        _check_range(f"{path}.public_ports", rule.public_ports, problems)
        _check_range(f"{path}.private_ports", rule.private_ports, problems)
        lengths = [ports.last - ports.first + 1 for ports in (rule.public_ports, rule.private_ports)]
        if lengths[0] != lengths[1]:
            words = f"{rule.id}: {lengths[1]} private ports for {lengths[0]} public ones; give as many"
            problems.add(f"{path}.private_ports", words)
    _check_overlaps(section.port_forwards, problems)


def _check_overlaps(rules: Sequence[PortForward], problems: Problems) -> None:
    """Each that begins before the furthest end of those before it; n log n."""
    ordered = sorted(
        enumerate(rules), key=lambda item: (item[1].public, item[1].protocol, item[1].public_ports.first)
    )
    furthest: PortForward | None = None
    for i, rule in ordered:
        same = furthest and (furthest.public, furthest.protocol) == (rule.public, rule.protocol)
        if furthest is not None and same and rule.public_ports.first <= furthest.public_ports.last:
            words = (
                f"{rule.id}: {_range(rule.public_ports)}/{rule.protocol.value} of {rule.public} overlaps "
                f"{_range(furthest.public_ports)} of {furthest.id}"
            )
            problems.add(f"port_forwards[{i}].public_ports", words)
        if furthest is None or not same or rule.public_ports.last > furthest.public_ports.last:
            furthest = rule


def _check_balancers(state: State, section: Nftables, problems: Problems) -> None:
    """A port that is forwarded never reaches the balancer that listens on it."""
    served = {
        (item.address, item.port): item.id for item in (state.haproxy.balancers if state.haproxy else ())
    }
    if not served:
        return
    static = {address: balancer for (address, _), balancer in served.items()}
    for i, rule in enumerate(section.static_nat):
        if rule.public in static:
            words = f"{rule.id}: {rule.public} is the address of balancer {static[rule.public]}"
            problems.add(f"static_nat[{i}].public", words)
    for i, forward in enumerate(section.port_forwards):
        if forward.protocol is not Protocol.tcp:
            continue
        for (address, port), balancer in served.items():
            if address == forward.public and forward.public_ports.first <= port <= forward.public_ports.last:
                words = f"{forward.id}: port {port} of {address} belongs to balancer {balancer}"
                problems.add(f"port_forwards[{i}].public_ports", words)


def _check_ingress(section: Nftables, problems: Problems) -> None:
    for i, rule in enumerate(section.ingress):
        path = f"ingress[{i}]"
        _check_public(f"{path}.public", rule.public, problems)
        _check_match(path, rule, problems)
        if not rule.sources:
            problems.add(f"{path}.sources", f"{rule.id}: no sources; write 0.0.0.0/0 for anyone")
        for j, source in enumerate(rule.sources):
            problems.network(f"{path}.sources[{j}]", source)


def _check_egress(section: Nftables, nics: dict[str, Nic], problems: Problems) -> None:
    seen: dict[str, int] = {}
    for i, policy in enumerate(section.egress_policies):
        path = f"egress_policies[{i}].interface"
        _check_link(path, policy.interface, Purpose.guest, nics, problems)
        if policy.interface in seen:
            problems.add(path, f"{policy.interface} already has egress_policies[{seen[policy.interface]}]")
        seen.setdefault(policy.interface, i)
    for i, rule in enumerate(section.egress):
        path = f"egress[{i}]"
        _check_link(f"{path}.interface", rule.interface, Purpose.guest, nics, problems)
        _check_match(path, rule, problems)
        for name in ("sources", "destinations"):
            for j, value in enumerate(getattr(rule, name)):
                problems.network(f"{path}.{name}[{j}]", value)


def _check_match(path: str, rule: Rule, problems: Problems) -> None:
    """Ports for tcp and udp, type and code for ICMP, neither for all."""
    has_ports = rule.protocol in (Protocol.tcp, Protocol.udp)
    if rule.ports is not None and not has_ports:
        problems.add(f"{path}.ports", f"{rule.id}: {rule.protocol.value} has no ports; leave them out")
    if rule.ports is not None:
        _check_range(f"{path}.ports", rule.ports, problems)
    for name in ("icmp_type", "icmp_code"):
        value = getattr(rule, name)
        if value != -1 and rule.protocol is not Protocol.icmp:
            problems.add(f"{path}.{name}", f"{rule.id}: {rule.protocol.value} has no {name}; leave it at -1")
        elif not -1 <= value <= 255:
            problems.add(f"{path}.{name}", f"{rule.id}: {value} is not within 0 to 255, or -1 for any")
    if rule.protocol is Protocol.icmp and rule.icmp_type == -1 and rule.icmp_code != -1:
        problems.add(
            f"{path}.icmp_code", f"{rule.id}: code {rule.icmp_code} of any type means nothing; give a type"
        )


def _check_range(path: str, ports: PortRange, problems: Problems) -> None:
    if ports.first > ports.last:
        problems.add(path, f"{_range(ports)} ends before it begins")


def _check_public(path: str, value: str, problems: Problems) -> None:
    address = problems.address(path, value)
    if address is not None and _is_unusable(address):
        problems.add(path, f"{address} cannot be a public address")


def _check_private(path: str, value: str, problems: Problems) -> None:
    # A guest's address in the control network would let tenants reach the agent.
    address = problems.address(path, value)
    if address is not None and _is_unusable(address):
        problems.add(path, f"{address} cannot be a guest's address")


def _is_unusable(address: IPv4Address) -> bool:
    return address in LINK_LOCAL or address.is_loopback or address.is_multicast or address.is_unspecified


def _check_link(path: str, name: str, purpose: Purpose, nics: dict[str, Nic], problems: Problems) -> None:
    nic = problems.link(path, name, nics)
    if nic is not None and nic.purpose is not purpose:
        problems.add(path, f"{name} is a {nic.purpose.value} NIC, not a {purpose.value} one")


def _check_size(section: Nftables, problems: Problems) -> None:
    _try("ingress", lambda: ingress_sets(section.ingress), problems)
    for link in {rule.interface for rule in section.egress}:
        rules = [rule for rule in section.egress if rule.interface == link]
        _try("egress", lambda rules=rules, link=link: egress_sets(link, rules), problems)  # type: ignore[misc]
    moved = [rule for rule in section.port_forwards if rule.public_ports != rule.private_ports]
    total = sum(rule.public_ports.last - rule.public_ports.first + 1 for rule in moved)
    if total > SHIFTED_LIMIT:
        words = f"{total} ports are moved to other numbers, {SHIFTED_LIMIT} are possible; keep the numbers"
        problems.add("port_forwards", words)


def _try(path: str, build: Callable[[], object], problems: Problems) -> None:
    try:
        build()
    except TooManyBoxes:
        words = f"the rules overlap so much that they need more than {LIMIT} elements; merge some"
        problems.add(path, words)


def _range(ports: PortRange) -> str:
    return f"{ports.first}-{ports.last}"
