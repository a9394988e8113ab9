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


USAGE_WORDS: Final = {
    UsageType.running_vm: ("RUNNING_VM", "Running Vm Usage"),
    UsageType.allocated_vm: ("ALLOCATED_VM", "Allocated Vm Usage"),
    UsageType.public_address: ("IP_ADDRESS", "IP Address Usage"),
    UsageType.volume: ("VOLUME", "Volume Usage"),
    UsageType.template: ("TEMPLATE", "Template Usage"),
    UsageType.iso: ("ISO", "ISO Usage"),
    UsageType.snapshot: ("SNAPSHOT", "Snapshot Usage"),
}
"""Name and description of each type."""
