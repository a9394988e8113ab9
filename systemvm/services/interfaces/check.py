"""Problems of the `interfaces` section."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from systemvm.engine.problems import LINK_LOCAL, Problems, addresses_of, nics_by_name
from systemvm.spec.bootstrap import CONTROL_LINK
from systemvm.spec.network import Nic
from systemvm.spec.state import State
from systemvm.spec.types import Problem, Purpose

DEFAULT = IPv4Network("0.0.0.0/0")


def check(state: State) -> list[Problem]:
    """All problems of the section, each with its path."""
    problems = Problems("interfaces")
    _check_nics(state.interfaces.nics, problems)
    _check_addresses(state.interfaces.nics, problems)
    _check_routes(state, problems)
    _check_resolvers(state, problems)
    return problems.found


def _check_nics(nics: tuple[Nic, ...], problems: Problems) -> None:
    names: dict[str, int] = {}
    macs: dict[str, int] = {}
    for i, nic in enumerate(nics):
        if nic.name in (CONTROL_LINK, "lo"):
            problems.add(f"nics[{i}].name", f"{nic.name} belongs to the machine; choose another name")
        if nic.purpose is Purpose.linklocal:
            problems.add(
                f"nics[{i}].purpose", "the link-local NIC is set up from the config disk; leave it out"
            )
        if nic.name in names:
            problems.add(f"nics[{i}].name", f"{nic.name} is also the name of nics[{names[nic.name]}]")
        if nic.mac in macs:
            problems.add(f"nics[{i}].mac", f"{nic.mac} is also the MAC of nics[{macs[nic.mac]}]")
        if int(nic.mac[:2], 16) & 1:
            problems.add(f"nics[{i}].mac", f"{nic.mac} is a multicast address; no NIC can have it")
        names.setdefault(nic.name, i)
        macs.setdefault(nic.mac, i)


def _check_addresses(nics: tuple[Nic, ...], problems: Problems) -> None:
    networks: list[tuple[IPv4Network, int]] = []
    owners: dict[IPv4Address, str] = {}
    for i, nic in enumerate(nics):
        for j, value in enumerate(nic.addresses):
            path = f"nics[{i}].addresses[{j}]"
            address = problems.interface(path, value)
            if address is None:
                continue
            _check_usable(path, address, problems)
            if address.ip in owners:
                problems.add(path, f"{address.ip} is also {owners[address.ip]}")
            owners.setdefault(address.ip, path)
            for network, other in networks:
                if other != i and network.overlaps(address.network):
                    problems.add(path, f"{address.network} overlaps {network} of nics[{other}]")
            if (address.network, i) not in networks:
                networks.append((address.network, i))


def _check_usable(path: str, address: IPv4Interface, problems: Problems) -> None:
    network = address.network
    if network.overlaps(LINK_LOCAL):
        problems.add(path, f"{address} touches {LINK_LOCAL}, which is the control network's")
    elif address.ip.is_multicast or address.ip.is_loopback or address.ip.is_unspecified:
        problems.add(path, f"{address.ip} is not an address that a NIC can have")
    elif network.prefixlen < 31 and address.ip in (network.network_address, network.broadcast_address):
        problems.add(path, f"{address.ip} is the network or broadcast address of {network}")


def _check_routes(state: State, problems: Problems) -> None:
    nics = nics_by_name(state)
    seen: dict[IPv4Network, int] = {}
    for i, route in enumerate(state.interfaces.routes):
        path = f"routes[{i}]"
        destination = problems.network(f"{path}.destination", route.destination)
        gateway = problems.address(f"{path}.gateway", route.gateway)
        nic = problems.link(f"{path}.interface", route.interface, nics)
        if destination is not None:
            _check_destination(f"{path}.destination", destination, nics, problems)
            if destination in seen:
                problems.add(
                    f"{path}.destination", f"{destination} is also routed by routes[{seen[destination]}]"
                )
            seen.setdefault(destination, i)
        if gateway is not None and nic is not None:
            _check_gateway(f"{path}.gateway", gateway, nic, problems)


def _check_destination(path: str, destination: IPv4Network, nics: dict[str, Nic], problems: Problems) -> None:
    if destination == DEFAULT:
        return
    if destination.overlaps(LINK_LOCAL):
        problems.add(path, f"{destination} touches {LINK_LOCAL}, which is the control network's")
    for nic in nics.values():
        if any(address.network == destination for address in addresses_of(nic)):
            problems.add(path, f"{destination} is directly connected to {nic.name}; it needs no route")


def _check_gateway(path: str, gateway: IPv4Address, nic: Nic, problems: Problems) -> None:
    addresses = addresses_of(nic)
    if any(address.ip == gateway for address in addresses):
        problems.add(path, f"{gateway} is this machine's own address")
    elif not any(gateway in address.network for address in addresses):
        reachable = ", ".join(str(address.network) for address in addresses) or "none"
        problems.add(path, f"{gateway} is not reachable from {nic.name}; its networks: {reachable}")


def _check_resolvers(state: State, problems: Problems) -> None:
    own = {address.ip for nic in state.interfaces.nics for address in addresses_of(nic)}
    for i, value in enumerate(state.interfaces.resolvers):
        address = problems.address(f"resolvers[{i}]", value)
        if address is None:
            continue
        if address in own or address.is_loopback or address.is_unspecified:
            problems.add(f"resolvers[{i}]", f"{value} is this machine itself; it serves itself no names")
        elif address in LINK_LOCAL or address.is_multicast:
            problems.add(f"resolvers[{i}]", f"{value} is not an address that a DNS server can have here")
