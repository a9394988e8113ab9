"""Consoles: a URL on the zone's console proxy, with a ticket for one VM, good for one use."""

from dataclasses import dataclass, field

from sqlalchemy import select

from mgmt.model.errors import ParameterError, Unavailable
from mgmt.model.states import VmKind, VmState
from mgmt.ops.runtime import Runtime
from mgmt.pki import tickets
from mgmt.store.tables import Nic, Vm
from systemvm.spec.ticket import TicketPurpose
from systemvm.spec.types import Purpose

PORT = 443


@dataclass(frozen=True)
class ConsoleEndpoint:
    """Where a browser finds the console; `url` carries `token`, so it is a secret while that lives."""

    url: str = field(repr=False)
    host: str
    port: int
    path: str
    token: str = field(repr=False)


def create_endpoint(runtime: Runtime, vm_id: str) -> ConsoleEndpoint:
    """A console of a running VM. Raises ParameterError, or Unavailable when no proxy runs."""
    with runtime.database.reading() as session:
        vm = session.get_one(Vm, vm_id)
        if vm.state != VmState.running or vm.host_id is None:
            raise ParameterError(f"VM {vm.name} is {vm.state}: only a Running one has a console")
        proxy = session.scalar(
            select(Vm).where(
                Vm.kind == VmKind.console,
                Vm.zone_id == vm.zone_id,
                Vm.removed.is_(None),
                Vm.state == VmState.running,
            )
        )
        query = select(Nic.address).where(Nic.purpose == Purpose.public, Nic.removed.is_(None))
        address = session.scalar(query.where(Nic.vm_id == proxy.id)) if proxy else None
    if proxy is None or address is None:
        raise Unavailable("the zone's console proxy is not running; it is started by itself, try again")
    token = tickets.sign(
        runtime.authority.ticket_key, TicketPurpose.console, vm.id, runtime.now().timestamp(), vm.host_id
    )
    # In the fragment, which browsers send to nobody: neither server nor proxy can log it.
    return ConsoleEndpoint(f"https://{address}:{PORT}/#{token}", address, PORT, "websockify", token)
