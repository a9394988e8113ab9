"""All problems of the VRRP instances: names, links, addresses and router ids that do not fit."""

from collections.abc import Iterator
from ipaddress import AddressValueError, IPv4Address, IPv4Interface, NetmaskValueError

from systemvm.spec.network import Nic, VrrpInstance
from systemvm.spec.state import State
from systemvm.spec.types import Problem


def check(state: State) -> list[Problem]:
    """See systemvm.engine.service."""
    if state.keepalived is None:
        return []
    problems: list[Problem] = []
    nics = {nic.name: nic for nic in state.interfaces.nics}
    names: dict[str, int] = {}
    ids: dict[tuple[str, int], int] = {}
    addresses: dict[str, int] = {}
    for index, instance in enumerate(state.keepalived.instances):
        path = f"keepalived.instances[{index}]"
        if (first := names.setdefault(instance.name, index)) != index:
            problems.append(
                Problem(path=f"{path}.name", message=f"{instance.name} is also instances[{first}]")
            )
        key = (instance.interface, instance.virtual_router_id)
        if (first := ids.setdefault(key, index)) != index:
            message = f"router id {key[1]} on {key[0]} is taken by instances[{first}]: use another"
            problems.append(Problem(path=f"{path}.virtual_router_id", message=message))
        for cidr in instance.virtual_addresses:
            if (first := addresses.setdefault(cidr.partition("/")[0], index)) != index:
                message = f"{cidr} is also in instances[{first}]"
                problems.append(Problem(path=f"{path}.virtual_addresses", message=message))
        problems += _check_link(path, instance, nics)
        problems += _check_addresses(path, instance)
    return problems


def _check_link(path: str, instance: VrrpInstance, nics: dict[str, Nic]) -> Iterator[Problem]:
    nic = nics.get(instance.interface)
    if nic is None:
        known = ", ".join(nics) or "none"
        message = f"there is no interface {instance.interface}: choose one of {known}"
        yield Problem(path=f"{path}.interface", message=message)
    elif instance.address not in {cidr.partition("/")[0] for cidr in nic.addresses}:
        message = f"{instance.address} is no address of {nic.name}: advertisements could not leave from it"
        yield Problem(path=f"{path}.address", message=message)
    if nic is not None and (own := set(instance.virtual_addresses) & set(nic.addresses)):
        message = f"{', '.join(sorted(own))} is already a fixed address of {nic.name}: remove it there"
        yield Problem(path=f"{path}.virtual_addresses", message=message)


def _check_addresses(path: str, instance: VrrpInstance) -> Iterator[Problem]:
    for field in ("address", "peer"):
        value = getattr(instance, field)
        try:
            IPv4Address(value)
        except AddressValueError:
            yield Problem(path=f"{path}.{field}", message=f"{value} is no IPv4 address")
    if instance.address == instance.peer:
        yield Problem(path=f"{path}.peer", message=f"{instance.peer} is this router itself")
    if not instance.virtual_addresses:
        yield Problem(path=f"{path}.virtual_addresses", message="there must be at least one")
    for index, cidr in enumerate(instance.virtual_addresses):
        try:
            IPv4Interface(cidr)
        except (AddressValueError, NetmaskValueError):
            message = f"{cidr} is no IPv4 address with a prefix length"
            yield Problem(path=f"{path}.virtual_addresses[{index}]", message=message)
