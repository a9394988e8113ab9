"""Problems of the `dnsmasq` section."""

from ipaddress import IPv4Address, IPv4Network

from systemvm.engine.problems import LINK_LOCAL, Problems, addresses_of, nics_by_name
from systemvm.spec.network import DhcpHost, DhcpSubnet, Nic
from systemvm.spec.state import State
from systemvm.spec.types import Problem, Purpose

#: Link and network of each subnet that could be read.
Networks = list[tuple[str, IPv4Network]]


def check(state: State) -> list[Problem]:
    """All problems of the section, each with its path."""
    section = state.dnsmasq
    if section is None:
        return []
    problems = Problems("dnsmasq")
    nics = nics_by_name(state)
    networks: Networks = []
    for i, subnet in enumerate(section.subnets):
        _check_subnet(f"subnets[{i}]", subnet, nics, networks, problems)
    own = {address.ip for nic in nics.values() for address in addresses_of(nic)}
    _check_hosts(section.hosts, networks, own, problems)
    for i, value in enumerate(section.upstream):
        address = problems.address(f"upstream[{i}]", value)
        if address in own or (address is not None and (address.is_loopback or address.is_unspecified)):
            problems.add(f"upstream[{i}]", f"{value} is this machine itself; queries would go in circles")
    return problems.found


def _check_subnet(
    path: str, subnet: DhcpSubnet, nics: dict[str, Nic], networks: Networks, problems: Problems
) -> None:
    nic = problems.link(f"{path}.interface", subnet.interface, nics)
    network = problems.network(f"{path}.network", subnet.network)
    gateway = problems.address(f"{path}.gateway", subnet.gateway)
    for i, value in enumerate(subnet.dns):
        problems.address(f"{path}.dns[{i}]", value)
    _check_domain(f"{path}.domain", subnet.domain, problems)
    if nic is not None and nic.purpose is not Purpose.guest:
        words = f"{nic.name} is a {nic.purpose.value} NIC; only guests are served"
        problems.add(f"{path}.interface", words)
    if network is None:
        return
    for other_link, other in networks:
        if other.overlaps(network):
            problems.add(f"{path}.network", f"{network} overlaps {other} on {other_link}")
    networks.append((subnet.interface, network))
    if gateway is not None and gateway not in network:
        problems.add(f"{path}.gateway", f"{gateway} is not in {network}")
    if nic is not None and not any(address.ip in network for address in addresses_of(nic)):
        words = f"{nic.name} has no address in {network}; dnsmasq serves only networks that it is in"
        problems.add(f"{path}.network", words)


def _check_domain(path: str, domain: str, problems: Problems) -> None:
    for label in domain.split("."):
        if not label or len(label) > 63 or label.startswith("-") or label.endswith("-"):
            problems.add(path, f"{domain} is not a domain name: {label!r} is not a label (RFC 1123)")


def _check_hosts(
    hosts: tuple[DhcpHost, ...], networks: Networks, own: set[IPv4Address], problems: Problems
) -> None:
    seen: dict[tuple[str, str, str], int] = {}
    by_link: dict[str, list[IPv4Network]] = {}
    for link, network in networks:
        by_link.setdefault(link, []).append(network)
    for i, host in enumerate(hosts):
        path = f"hosts[{i}]"
        keys = {"mac": host.mac, "address": host.address, "hostname": host.hostname.lower()}
        for name, value in keys.items():
            first = seen.setdefault((host.interface, name, value), i)
            if first != i:
                problems.add(f"{path}.{name}", f"{value} is also hosts[{first}]'s on {host.interface}")
        if int(host.mac[:2], 16) & 1:
            problems.add(f"{path}.mac", f"{host.mac} is a multicast address; no NIC can have it")
        _check_host_address(path, host, by_link.get(host.interface, []), own, problems)


def _check_host_address(
    path: str, host: DhcpHost, networks: list[IPv4Network], own: set[IPv4Address], problems: Problems
) -> None:
    address = problems.address(f"{path}.address", host.address)
    if not networks:
        problems.add(f"{path}.interface", f"no subnet is served on {host.interface}")
        return
    if address is None:
        return
    network = next((network for network in networks if address in network), None)
    if network is None:
        served = ", ".join(map(str, networks))
        problems.add(f"{path}.address", f"{address} is in no subnet of {host.interface}; there: {served}")
    elif address in own:
        problems.add(f"{path}.address", f"{address} is this machine's own address")
    elif address in LINK_LOCAL or address in (network.network_address, network.broadcast_address):
        problems.add(f"{path}.address", f"{address} is no address that a guest of {network} can have")
