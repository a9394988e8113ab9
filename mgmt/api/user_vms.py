"""What commands about tenants' VMs have in common."""

from mgmt.api.call import Call
from mgmt.api.params import unknown_entity
from mgmt.model.errors import ParameterError
from mgmt.model.states import VmKind, VmState
from mgmt.store.tables import Vm

KIND = "VirtualMachine"
"""The name of VMs in jobs."""


def user_vm(call: Call, vm_id: str, parameter: str = "id") -> Vm:
    """The tenant's VM of an id; system VMs have commands of their own."""
    row = call.row(Vm, vm_id)
    if row.kind != VmKind.user:
        raise unknown_entity(parameter, vm_id)
    return row


def must_be(vm: Vm, action: str, *states: VmState) -> None:
    """Raise `ParameterError` unless the VM is in one of these states; `action` as in "can be started"."""
    if vm.state not in states:
        wanted = " or ".join(states)
        raise ParameterError(f"VM {vm.name} is {vm.state}; only a {wanted} one can be {action}")
