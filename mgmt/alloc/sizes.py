"""How big a VM is: its offering's size, or what its owner chose where the offering leaves it open."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func

from mgmt.model.errors import ParameterError
from mgmt.store.tables import ServiceOffering, Vm

#: Keys of a deploy's `details` that choose the size of a custom offering, in lower case.
CHOICES = ("cpunumber", "cpuspeed", "memory")
#: The same sizes in SQL, for statements that join VMs with their offerings.
CPUS = func.coalesce(Vm.cpus, ServiceOffering.cpus)
SPEED = func.coalesce(Vm.cpu_speed, ServiceOffering.cpu_speed)
MEMORY = func.coalesce(Vm.memory, ServiceOffering.memory)
#: What a custom offering without own limits allows: vCPUs, MiB, MHz.
MOST_CPUS, MOST_MEMORY, MOST_SPEED = 256, 2**22, 10_000
_LEAST_SPEED = 100


@dataclass(frozen=True)
class Size:
    """vCPUs, MHz of each, memory in MiB."""

    cpus: int
    speed: int
    memory: int


def size_of(vm: Vm, offering: ServiceOffering) -> Size:
    """The size that a VM has."""
    return Size(vm.cpus or offering.cpus, vm.cpu_speed or offering.cpu_speed, vm.memory or offering.memory)


def choose_size(offering: ServiceOffering, details: Mapping[str, str]) -> Size:
    """The size of a VM of this offering with these details. Raises ParameterError for a wrong choice."""
    chosen = {key.lower(): value for key, value in details.items() if key.lower() in CHOICES}
    if not offering.customized:
        if chosen:
            raise ParameterError(
                f"Offering {offering.name} has a fixed size: leave {', '.join(sorted(chosen))} away,"
                " or choose a custom offering"
            )
        return Size(offering.cpus, offering.cpu_speed, offering.memory)
    for key in ("cpunumber", "memory"):
        if key not in chosen:
            raise ParameterError(f"Offering {offering.name} is custom: send details[0].{key}")
    return Size(
        _number(chosen, "cpunumber", offering.cpus, offering.max_cpus or MOST_CPUS),
        _number(chosen, "cpuspeed", _LEAST_SPEED, MOST_SPEED) if "cpuspeed" in chosen else offering.cpu_speed,
        _number(chosen, "memory", offering.memory, offering.max_memory or MOST_MEMORY),
    )


def without_choices(details: Mapping[str, str]) -> dict[str, str]:
    """Details without those that chose a size: the size has columns of its own."""
    return {key: value for key, value in details.items() if key.lower() not in CHOICES}


def set_size(vm: Vm, offering: ServiceOffering, size: Size) -> None:
    """Give a VM an offering; of a custom one also the size, which else follows from the offering."""
    vm.offering_id = offering.id
    own = (size.cpus, size.speed, size.memory) if offering.customized else (None, None, None)
    vm.cpus, vm.cpu_speed, vm.memory = own


def _number(chosen: Mapping[str, str], key: str, least: int, most: int) -> int:
    text = chosen[key]
    if not (text.isascii() and text.isdigit()) or not least <= int(text) <= most:
        raise ParameterError(f"Invalid value {text} for details.{key}: expected {least} to {most}")
    return int(text)
