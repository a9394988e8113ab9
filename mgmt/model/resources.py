"""What owners are limited in: CloudStack's resource types, their units, and the limits of a new cloud."""

from enum import IntEnum, StrEnum
from typing import Final

GIB: Final = 1024**3
UNLIMITED: Final = -1


class ResourceType(IntEnum):
    """Countable resources (CloudStack's `resourcetype`; the names are its `resourcetypename`).

    `cpu` counts cores, `memory` MiB, the two storages bytes; all else is a number of things.
    """

    user_vm = 0
    public_ip = 1
    volume = 2
    snapshot = 3
    template = 4
    project = 5
    network = 6
    vpc = 7
    cpu = 8
    memory = 9
    primary_storage = 10
    secondary_storage = 11

    @property
    def unit(self) -> int:
        """How much of what is counted makes one of what limits are in: storage is limited in GiB."""
        return GIB if self in (ResourceType.primary_storage, ResourceType.secondary_storage) else 1


class OwnerKind(StrEnum):
    """Who has limits; the names are those in configuration items (`max.account.user.vms`)."""

    account = "account"
    project = "project"
    domain = "domain"


ITEMS: Final[dict[ResourceType, str]] = {
    ResourceType.user_vm: "user.vms",
    ResourceType.public_ip: "public.ips",
    ResourceType.volume: "volumes",
    ResourceType.snapshot: "snapshots",
    ResourceType.template: "templates",
    ResourceType.project: "projects",
    ResourceType.network: "networks",
    ResourceType.vpc: "vpcs",
    ResourceType.cpu: "cpus",
    ResourceType.memory: "memory",
    ResourceType.primary_storage: "primary.storage",
    ResourceType.secondary_storage: "secondary.storage",
}

_ACCOUNT: Final[dict[ResourceType, int]] = {
    **dict.fromkeys(ResourceType, 20),
    ResourceType.project: 10,
    ResourceType.cpu: 40,
    ResourceType.memory: 40960,
    ResourceType.primary_storage: 200,
    ResourceType.secondary_storage: 400,
}
_DOMAIN: Final[dict[ResourceType, int]] = {
    **dict.fromkeys(ResourceType, 40),
    ResourceType.project: 50,
    ResourceType.cpu: 80,
    ResourceType.memory: 81920,
    ResourceType.primary_storage: 400,
    ResourceType.secondary_storage: 800,
}

DEFAULT_LIMITS: Final[dict[OwnerKind, dict[ResourceType, int]]] = {
    OwnerKind.account: _ACCOUNT,
    # A project has no projects of its own.
    OwnerKind.project: {kind: most for kind, most in _ACCOUNT.items() if kind is not ResourceType.project},
    OwnerKind.domain: _DOMAIN,
}
"""CloudStack's defaults, in the units of limits; the configuration items of `limit_item` override them."""


def limit_item(kind: ResourceType, owner: OwnerKind) -> str:
    """The configuration item of a default limit, as `max.account.user.vms`."""
    return f"max.{owner}.{ITEMS[kind]}"
