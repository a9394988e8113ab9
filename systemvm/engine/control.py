"""The control channel: the link-local NIC that the bootstrap owns and that no document may touch."""

from collections.abc import Iterator
from ipaddress import IPv4Network

from systemvm.spec.bootstrap import CONTROL_LINK, Bootstrap, BootstrapNic
from systemvm.spec.state import State
from systemvm.spec.types import Problem, Purpose

#: Where guests expect metadata (the address that EC2 made customary); it is no machine's own.
METADATA_ADDRESS = "169.254.169.254/32"


def linklocal_nic(bootstrap: Bootstrap) -> BootstrapNic:
    """The NIC of the control channel, `CONTROL_LINK` by name. Raises ValueError when there is none."""
    for nic in bootstrap.nics:
        if nic.purpose is Purpose.linklocal:
            return nic
    raise ValueError(
        f"the bootstrap of {bootstrap.name} has no linklocal NIC among its {len(bootstrap.nics)}"
    )


def check_control_channel(state: State, bootstrap: Bootstrap) -> list[Problem]:
    """Problems of a document that is not for this machine, or that would cut mgmt off from it."""
    return [
        *_identity_problems(state, bootstrap),
        *_nic_problems(state, bootstrap),
        *_route_problems(state, bootstrap),
    ]


def _identity_problems(state: State, bootstrap: Bootstrap) -> Iterator[Problem]:
    if state.machine != bootstrap.machine:
        yield Problem(
            path="machine", message=f"{state.machine} is another machine; this is {bootstrap.machine}"
        )
    if state.role != bootstrap.role:
        yield Problem(
            path="role", message=f"{state.role} is another role; this machine is a {bootstrap.role}"
        )


def _nic_problems(state: State, bootstrap: Bootstrap) -> Iterator[Problem]:
    own = linklocal_nic(bootstrap)
    for index, nic in enumerate(state.interfaces.nics):
        path = f"interfaces.nics[{index}]"
        if nic.mac == own.mac:
            yield Problem(path=f"{path}.mac", message=f"{nic.mac} is the control channel; leave it out")
        if nic.name == CONTROL_LINK:
            message = f"{CONTROL_LINK} is the control channel; use another name"
            yield Problem(path=f"{path}.name", message=message)
        for place, address in enumerate(nic.addresses):
            if address != METADATA_ADDRESS and _is_inside(address, bootstrap):
                message = f"{address} lies in the control channel's network {_network(bootstrap)}"
                yield Problem(path=f"{path}.addresses[{place}]", message=message)


def _route_problems(state: State, bootstrap: Bootstrap) -> Iterator[Problem]:
    for index, route in enumerate(state.interfaces.routes):
        path = f"interfaces.routes[{index}]"
        if route.interface == CONTROL_LINK:
            message = f"{CONTROL_LINK} is the control channel; route through another interface"
            yield Problem(path=f"{path}.interface", message=message)
        if _is_inside(route.destination, bootstrap):
            message = f"{route.destination} lies in the control channel's network {_network(bootstrap)}"
            yield Problem(path=f"{path}.destination", message=message)


def _network(bootstrap: Bootstrap) -> IPv4Network:
    return IPv4Network(bootstrap.linklocal_address, strict=False)


def _is_inside(cidr: str, bootstrap: Bootstrap) -> bool:
    """Whether it takes a part of the control channel's network; a wider prefix loses to ours anyway."""
    try:
        network = IPv4Network(cidr, strict=False)
    except ValueError:
        return False  # not an address at all: the interfaces service says so
    return network.subnet_of(_network(bootstrap))
