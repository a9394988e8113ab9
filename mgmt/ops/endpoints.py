"""From rows to the places that drivers speak to."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.orm import Session

from mgmt.agents.errors import AgentUnreachable
from mgmt.agents.host import HostEndpoint
from mgmt.agents.machine import MachineAgent, MachineEndpoint
from mgmt.drivers.protocol import Driver
from mgmt.model.errors import Unavailable
from mgmt.ops.runtime import Runtime
from mgmt.pki.authority import host_name, vm_name
from mgmt.store.tables import Host, Vm

T = TypeVar("T")


#: How often, and with how many seconds between, something is asked for again that may be done already.
_TRIES, _SECONDS = 5, 2.0


def patiently(runtime: Runtime, call: Callable[[], T]) -> T:
    """Ask again for what is the same twice as once, when the answer was lost. Raises AgentError."""
    for _ in range(_TRIES - 1):
        try:
            return call()
        except AgentUnreachable:
            runtime.sleep(_SECONDS)
    return call()


#: What is read of a host to speak to it, where thousands are: rows of these do for what takes a `Host` here.
HOST_COLUMNS = (
    Host.id,
    Host.name,
    Host.address,
    Host.port,
    Host.tunnel_port,
    Host.driver,
    Host.zone_id,
    Host.pod_id,
    Host.cluster_id,
)


def host_endpoint(host: Host) -> HostEndpoint:
    """Where a host's agent is."""
    return HostEndpoint(
        id=host.id,
        name=host.name,
        address=host.address,
        port=host.port,
        tunnel_port=host.tunnel_port,
        server_name=host_name(host.id),
        places=(host.zone_id, host.pod_id, host.cluster_id),
    )


def driver_of(runtime: Runtime, host: Host) -> Driver:
    """The driver of a host. Raises Unavailable for a kind that this server does not have."""
    driver = runtime.drivers.get(host.driver)
    if driver is None:
        raise Unavailable(
            f"host {host.name} needs driver {host.driver}; there is {', '.join(runtime.drivers)}"
        )
    return driver


def placed_host(session: Session, vm: Vm) -> Host:
    """The host that a VM is on. Raises Unavailable when it is on none."""
    host = session.get(Host, vm.host_id) if vm.host_id else None
    if host is None:
        raise Unavailable(f"VM {vm.name} is on no host: start it")
    return host


def machine_agent(runtime: Runtime, session: Session, vm: Vm) -> MachineAgent:
    """The agent of a system VM. Raises Unavailable when it is on no host."""
    host = placed_host(session, vm)
    endpoint = MachineEndpoint(
        machine=vm.id,
        name=vm.name,
        server_name=vm_name(vm.id),
        address=vm.linklocal_address or "",
        host=host_endpoint(host),
    )
    return driver_of(runtime, host).machine(endpoint)
