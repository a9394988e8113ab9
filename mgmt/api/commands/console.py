"""Consoles: a URL with a one-use ticket that opens one VM's screen."""

from typing import Annotated

from mgmt.api.access import EVERYONE, Ref
from mgmt.api.call import Call
from mgmt.api.params import NoEffect
from mgmt.api.registry import Response, Spec, SyncCommand
from mgmt.model.errors import ParameterError
from mgmt.model.states import VmKind, VmState
from mgmt.ops.compute.console import create_endpoint
from mgmt.ops.runtime import Runtime
from mgmt.store.tables import Vm


class ConsoleEndpoint(Response, kw_only=True):
    """Where to look; the ticket in the URL works once and not for long."""

    success: bool
    url: str | None = None
    details: str | None = None


class CreateConsoleEndpoint(SyncCommand, kw_only=True, frozen=True):
    """Creates a URL that opens a virtual machine's console in a browser, once."""

    spec = Spec(answer=ConsoleEndpoint, access=EVERYONE, event="VM.CONSOLE", key="consoleendpoint")

    virtualmachineid: Annotated[str, Ref(Vm)]
    token: Annotated[str | None, NoEffect("tickets are signed and work once")] = None

    def run(self, call: Call) -> Response:
        """Only a running VM has a screen; system VMs' screens are the root administrator's."""
        vm = call.row(Vm, self.virtualmachineid)
        if vm.kind != VmKind.user and not call.caller.is_root:
            raise ParameterError(f"{vm.name} is a system VM; only the root administrator may see its console")
        if vm.state != VmState.running:
            raise ParameterError(f"VM {vm.name} is {vm.state}; only a Running one has a console")
        endpoint = create_endpoint(call.part(Runtime), vm.id)
        return ConsoleEndpoint(success=True, url=endpoint.url)
