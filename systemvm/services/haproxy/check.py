"""All problems of the balancers: addresses that are none, or not ours; places and members taken twice."""

from collections.abc import Iterator
from ipaddress import AddressValueError, IPv4Address, IPv4Network

from systemvm.spec.network import Balancer
from systemvm.spec.state import State
from systemvm.spec.types import Problem


def check(state: State) -> list[Problem]:
    """See systemvm.engine.service."""
    if state.haproxy is None:
        return []
    problems: list[Problem] = []
    own = _own_addresses(state)
    ids: dict[str, int] = {}
    places: dict[tuple[str, int], int] = {}
    for index, balancer in enumerate(state.haproxy.balancers):
        path = f"haproxy.balancers[{index}]"
        if (first := ids.setdefault(balancer.id, index)) != index:
            problems.append(Problem(path=f"{path}.id", message=f"{balancer.id} is also balancers[{first}]"))
        place = (balancer.address, balancer.port)
        if (first := places.setdefault(place, index)) != index:
            taken = f"{balancer.address}:{balancer.port} is taken by balancers[{first}]: use another port"
            problems.append(Problem(path=f"{path}.port", message=taken))
        problems += _check_address(f"{path}.address", balancer.address, own)
        problems += _check_sources(path, balancer)
        problems += _check_members(path, balancer)
    return problems


def _check_address(path: str, address: str, own: set[str]) -> Iterator[Problem]:
    if not _is_address(address):
        yield Problem(path=path, message=f"{address} is no IPv4 address")
    elif address not in own:
        listed = f"{address} is no address of this machine: add it to a NIC of interfaces, or to keepalived"
        yield Problem(path=path, message=listed)


def _check_sources(path: str, balancer: Balancer) -> Iterator[Problem]:
    for index, source in enumerate(balancer.sources):
        try:
            IPv4Network(source)
        except ValueError as error:
            yield Problem(path=f"{path}.sources[{index}]", message=f"{source} is no IPv4 network: {error}")


def _check_members(path: str, balancer: Balancer) -> Iterator[Problem]:
    ids: dict[str, int] = {}
    places: dict[tuple[str, int], int] = {}
    for index, member in enumerate(balancer.members):
        here = f"{path}.members[{index}]"
        if not _is_address(member.address):
            yield Problem(path=f"{here}.address", message=f"{member.address} is no IPv4 address")
        if (first := ids.setdefault(member.id, index)) != index:
            yield Problem(path=f"{here}.id", message=f"{member.id} is also members[{first}]")
        place = (member.address, member.port)
        if (first := places.setdefault(place, index)) != index:
            message = f"{member.address}:{member.port} is already members[{first}]"
            yield Problem(path=here, message=message)
        if place == (balancer.address, balancer.port):
            yield Problem(path=here, message=f"{member.address}:{member.port} is the balancer itself")


def _own_addresses(state: State) -> set[str]:
    own = {cidr.partition("/")[0] for nic in state.interfaces.nics for cidr in nic.addresses}
    if state.keepalived is not None:
        for instance in state.keepalived.instances:
            own |= {cidr.partition("/")[0] for cidr in instance.virtual_addresses}
    return own


def _is_address(text: str) -> bool:
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True
