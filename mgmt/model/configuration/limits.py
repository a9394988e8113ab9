"""Items for how much an account, a domain or a project may have where no limit of its own is set."""

from typing import Final

from mgmt.model.configuration.item import Item
from mgmt.model.resources import DEFAULT_LIMITS, UNLIMITED, OwnerKind, ResourceType, limit_item

_UNITS: Final = {
    ResourceType.cpu: "CPU cores",
    ResourceType.memory: "MiB of memory",
    ResourceType.primary_storage: "GiB of primary storage",
    ResourceType.secondary_storage: "GiB of secondary storage",
}


def _item(owner: OwnerKind, kind: ResourceType, default: int) -> Item[int]:
    words = _UNITS.get(kind, f"number of {kind.name.replace('_', ' ')}s")
    return Item(
        name=limit_item(kind, owner),
        default=default,
        category=f"{owner.capitalize()} Defaults",
        group="Limits",
        description=f"the {words} that each {owner} may have; -1 for no limit",
        low=UNLIMITED,
    )


LIMIT_ITEMS: Final = tuple(
    _item(owner, kind, default)
    for owner, defaults in DEFAULT_LIMITS.items()
    for kind, default in defaults.items()
)
"""Read by `mgmt.alloc.limits`, under the names of `mgmt.model.resources.limit_item`."""
