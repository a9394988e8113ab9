"""Numbers and words that CloudStack gives to kinds of usage."""

from enum import IntEnum
from typing import Final


class UsageType(IntEnum):
    """Kind of usage; all are hours during which something was there or ran."""

    running_vm = 1
    allocated_vm = 2
    public_address = 3
    volume = 6
    template = 7
    iso = 8
    snapshot = 9
    vm_snapshot = 25
    vm_snapshot_on_primary = 27


USAGE_WORDS: Final = {
    UsageType.running_vm: ("RUNNING_VM", "Running Vm Usage"),
    UsageType.allocated_vm: ("ALLOCATED_VM", "Allocated Vm Usage"),
    UsageType.public_address: ("IP_ADDRESS", "IP Address Usage"),
    UsageType.volume: ("VOLUME", "Volume Usage"),
    UsageType.template: ("TEMPLATE", "Template Usage"),
    UsageType.iso: ("ISO", "ISO Usage"),
    UsageType.snapshot: ("SNAPSHOT", "Snapshot Usage"),
    UsageType.vm_snapshot: ("VM_SNAPSHOT", "VM Snapshot Usage"),
    UsageType.vm_snapshot_on_primary: ("VM_SNAPSHOT_ON_PRIMARY", "VM Snapshot on primary storage Usage"),
}
"""Name and description of each type."""
