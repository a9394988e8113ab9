"""Problems of the `metadata` section."""

import base64
import binascii
import re
from ipaddress import IPv4Address, IPv4Network

from systemvm.engine.problems import Problems, addresses_of, nics_by_name
from systemvm.services.metadata.settings import HTTP_PORT, PASSWORD_PORT
from systemvm.spec.network import GuestMetadata, Nic
from systemvm.spec.state import State
from systemvm.spec.types import Problem, Purpose

#: Keys are paths of words; cloud-init takes each word for a name.
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")


def check(state: State) -> list[Problem]:
    """All problems of the section, each with its path; none repeats a secret."""
    section = state.metadata
    if section is None:
        return []
    problems = Problems("metadata")
    nics = nics_by_name(state)
    served: list[Nic] = []
    for i, name in enumerate(section.interfaces):
        _check_interface(f"interfaces[{i}]", name, nics, served, problems)
    _check_ports(state, served, problems)
    networks = [address.network for nic in served for address in addresses_of(nic)]
    seen: dict[str, int] = {}
    for i, guest in enumerate(section.guests):
        if guest.address in seen:
            problems.add(f"guests[{i}].address", f"{guest.address} is also guests[{seen[guest.address]}]'s")
        seen.setdefault(guest.address, i)
        _check_guest(f"guests[{i}]", guest, networks, problems)
    return problems.found


def _check_interface(
    path: str, name: str, nics: dict[str, Nic], served: list[Nic], problems: Problems
) -> None:
    nic = problems.link(path, name, nics)
    if nic is None:
        return
    if nic.purpose is not Purpose.guest:
        problems.add(path, f"{name} is a {nic.purpose.value} NIC; only guests may read metadata")
        return
    if not nic.addresses:
        problems.add(path, f"{name} has no address to serve metadata on")
    if nic in served:
        problems.add(path, f"{name} is listed twice")
        return
    served.append(nic)


def _check_ports(state: State, served: list[Nic], problems: Problems) -> None:
    """A balancer on one of our addresses and ports would keep one of the two from starting."""
    own = {str(address.ip): nic.name for nic in served for address in addresses_of(nic)}
    for balancer in state.haproxy.balancers if state.haproxy else ():
        if balancer.address in own and balancer.port in (HTTP_PORT, PASSWORD_PORT):
            words = (
                f"{balancer.address}:{balancer.port} is needed for metadata; balancer {balancer.id} has it"
            )
            problems.add("interfaces", words)


def _check_guest(path: str, guest: GuestMetadata, networks: list[IPv4Network], problems: Problems) -> None:
    address = problems.address(f"{path}.address", guest.address)
    if address is not None and not _is_reachable(address, networks):
        served = ", ".join(map(str, networks)) or "none"
        problems.add(f"{path}.address", f"{address} is in no network that is served; those are: {served}")
    try:
        base64.b64decode(guest.user_data, validate=True)
    except (binascii.Error, ValueError):
        problems.add(f"{path}.user_data", f"user data of {guest.address} is not base64")
    for key in guest.meta_data:
        if not _KEY.fullmatch(key):
            problems.add(f"{path}.meta_data", f"{key!r} is not a path of words, such as local-hostname")
        parents = key.split("/")[:-1]
        for i in range(len(parents)):
            parent = "/".join(parents[: i + 1])
            if parent in guest.meta_data:
                problems.add(f"{path}.meta_data", f"{parent!r} is a value, so {key!r} cannot be below it")
    if guest.password and (not guest.password.value or not guest.password.value.isprintable()):
        words = f"password {guest.password.id} is empty, or holds line breaks or other control characters"
        problems.add(f"{path}.password.value", words)


def _is_reachable(address: IPv4Address, networks: list[IPv4Network]) -> bool:
    return any(address in network for network in networks)
