"""Numbers and words that CloudStack gives to kinds of usage."""

from enum import IntEnum
from typing import Final


class UsageType(IntEnum):
    """Kind of usage; hours during which something was there or ran, or bytes."""

    running_vm = 1
    allocated_vm = 2
    public_address = 3
    bytes_sent = 4
    bytes_received = 5
    volume = 6
    template = 7
    iso = 8
    snapshot = 9
    vm_snapshot = 25
    vm_snapshot_on_primary = 27


BYTES: Final = (UsageType.bytes_sent, UsageType.bytes_received)
"""Kinds that are counted in bytes, not in hours."""

USAGE_WORDS: Final = {
    UsageType.running_vm: ("RUNNING_VM", "Running Vm Usage"),
    UsageType.allocated_vm: ("ALLOCATED_VM", "Allocated Vm Usage"),
    UsageType.public_address: ("IP_ADDRESS", "IP Address Usage"),
    UsageType.bytes_sent: ("NETWORK_BYTES_SENT", "Network Usage (Bytes Sent)"),
    UsageType.bytes_received: ("NETWORK_BYTES_RECEIVED", "Network Usage (Bytes Received)"),
    UsageType.volume: ("VOLUME", "Volume Usage"),
    UsageType.template: ("TEMPLATE", "Template Usage"),
    UsageType.iso: ("ISO", "ISO Usage"),
    UsageType.snapshot: ("SNAPSHOT", "Snapshot Usage"),
    UsageType.vm_snapshot: ("VM_SNAPSHOT", "VM Snapshot Usage"),
    UsageType.vm_snapshot_on_primary: ("VM_SNAPSHOT_ON_PRIMARY", "VM Snapshot on primary storage Usage"),
}
"""Name and description of each type."""
