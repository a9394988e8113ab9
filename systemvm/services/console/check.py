"""All problems of the console section: addresses, certificates and keys, hosts named twice."""

from collections.abc import Iterator
from ipaddress import AddressValueError, IPv4Address

from systemvm.engine.certificates import certificate_mistake, pair_mistake
from systemvm.engine.ticket import is_public_key
from systemvm.spec.appliances import Console
from systemvm.spec.state import State
from systemvm.spec.types import Problem


def check(state: State) -> list[Problem]:
    """See systemvm.engine.service."""
    console = state.console
    if console is None:
        return []
    own = {cidr.partition("/")[0] for nic in state.interfaces.nics for cidr in nic.addresses}
    problems = [*_check_keys(console), *_check_hosts(console)]
    if console.address not in own:
        message = f"{console.address} is no address of this machine: add it to a NIC of interfaces"
        problems.append(Problem(path="console.address", message=message))
    return problems


def _check_keys(console: Console) -> Iterator[Problem]:
    if mistake := pair_mistake(console.certificate, console.key):
        yield Problem(path="console.certificate", message=mistake)
    if mistake := pair_mistake(console.client_certificate, console.client_key):
        yield Problem(path="console.client_certificate", message=mistake)
    if mistake := certificate_mistake(console.server_ca):
        yield Problem(path="console.server_ca", message=mistake)
    if not is_public_key(console.ticket_key):
        yield Problem(path="console.ticket_key", message="it is no Ed25519 public key in PEM")


def _check_hosts(console: Console) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for index, endpoint in enumerate(console.hosts):
        path = f"console.hosts[{index}]"
        if (first := seen.setdefault(endpoint.host, index)) != index:
            yield Problem(path=f"{path}.host", message=f"{endpoint.host} is also hosts[{first}]")
        try:
            IPv4Address(endpoint.address)
        except AddressValueError:
            yield Problem(path=f"{path}.address", message=f"{endpoint.address} is no IPv4 address")
