"""Small changes of VM rows, each one transaction."""

from typing import Any

from mgmt.alloc.counted import set_vm_state
from mgmt.ops.runtime import Runtime
from mgmt.store.tables import Vm


def set_vm(runtime: Runtime, vm_id: str, **columns: Any) -> None:
    """Change columns of a VM."""
    with runtime.database.writing() as session:
        vm = session.get_one(Vm, vm_id)
        for name, value in columns.items():
            if not hasattr(vm, name):
                raise AttributeError(f"VMs have no {name}")
            if name == "state":
                set_vm_state(session, vm, value)
            else:
                setattr(vm, name, value)


def read_vm(runtime: Runtime, vm_id: str) -> Vm:
    """A detached copy of a VM's row."""
    with runtime.database.reading() as session:
        return session.get_one(Vm, vm_id)
