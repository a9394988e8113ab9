"""User-editable internal details: what a tenant may write on a VM is a note, and never a setting of it.

CloudStack keeps such notes and settings of the hypervisor in one table of details.
"""

from typing import Any

import msgspec
import pytest

from mgmt.model.errors import ParameterError
from mgmt.ops.compute.domains import compile_domain
from mgmt.store.tables import Vm
from tests.unit.mgmt.tenant import Tenant

pytestmark = pytest.mark.unit

CANARY = "canary"
INTERNAL = (
    "extraconfig-1",
    "kvm.vnc.address",
    "kvm.vnc.password",
    "rootDiskController",
    "nicAdapter",
    "guest.cpu.mode",
    "cpuOvercommitRatio",
    "memoryOvercommitRatio",
    "UEFI",
    "iothreads",
    "Encrypted.Password",
    "password",
    "SSH.PublicKey",
    "deployvm",
    "name",
    "kind",
    "instance_name",
    "host_id",
)
"""Names of CloudStack's own details, and of our columns."""


def told(tenant: Tenant, vm_id: str) -> dict[str, Any]:
    """What the host is told of a VM; tickets for templates are new each time."""
    with tenant.cloud.runtime.database.reading() as session:
        vm = session.get_one(Vm, vm_id)
        document: dict[str, Any] = msgspec.to_builtins(
            compile_domain(tenant.cloud.runtime, session, vm, "running")
        )
    for volume in document["volumes"]:
        volume.pop("base")
    return document


def row_of(tenant: Tenant, vm_id: str) -> dict[str, Any]:
    """Its row, without the notes themselves."""
    row = vars(tenant.cloud.row(Vm, vm_id))
    return {name: value for name, value in row.items() if not name.startswith("_") and name != "details"}


def test_user_editable_internal_details(tenant: Tenant) -> None:
    vm_id = str(tenant.deploy(tenant.network())["id"])
    document, row = told(tenant, vm_id), row_of(tenant, vm_id)
    notes = {f"details[0].{name}": CANARY for name in INTERNAL}
    shown = tenant.call("updateVirtualMachine", id=vm_id, **notes)["virtualmachine"]
    assert shown["details"] == dict.fromkeys(INTERNAL, CANARY)
    assert row_of(tenant, vm_id) == row
    tenant.call("stopVirtualMachine", id=vm_id)
    tenant.call("startVirtualMachine", id=vm_id)
    assert told(tenant, vm_id) == document
    machines = [machine.state for machine in tenant.cloud.simulator.machines.values()]
    assert CANARY not in str(machines)


@pytest.mark.parametrize("name", ["cpuNumber", "CPUNUMBER", "memory", "cpuSpeed"])
def test_details_do_not_change_the_size(tenant: Tenant, name: str) -> None:
    """Else they would change it past offering and limits."""
    vm_id = str(tenant.deploy(tenant.network())["id"])
    with pytest.raises(ParameterError, match="scaleVirtualMachine"):
        tenant.call("updateVirtualMachine", id=vm_id, **{f"details[0].{name}": "64"})
