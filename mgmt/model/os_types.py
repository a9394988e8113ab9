"""Kinds of guest operating systems: a fixed list, its ids derived from the names, so they never change."""

from dataclasses import dataclass
from functools import cached_property
from uuid import UUID, uuid5

_NAMESPACE = UUID("6f1c9e5a-3c60-4f6e-9f0d-5b8f6f4d7a10")


@dataclass(frozen=True)
class OsType:
    """A kind of operating system; `description` is its name for users."""

    description: str
    category: str

    @cached_property
    def id(self) -> str:
        """Its uuid; asked for by each row of a list."""
        return str(uuid5(_NAMESPACE, self.description))

    @property
    def category_id(self) -> str:
        """The uuid of its category."""
        return category_id(self.category)


def category_id(name: str) -> str:
    """The uuid of a category."""
    return str(uuid5(_NAMESPACE, f"category {name}"))


DEFAULT = "Other Linux (64-bit)"

OS_TYPES: tuple[OsType, ...] = (
    OsType("AlmaLinux 9", "AlmaLinux"),
    OsType("Alpine Linux (64-bit)", "Alpine"),
    OsType("CentOS Stream 9", "CentOS"),
    OsType("Debian GNU/Linux 11 (64-bit)", "Debian"),
    OsType("Debian GNU/Linux 12 (64-bit)", "Debian"),
    OsType("Debian GNU/Linux 13 (64-bit)", "Debian"),
    OsType("Fedora Linux (64 bit)", "Fedora"),
    OsType("FreeBSD (64-bit)", "FreeBSD"),
    OsType("openSUSE Leap 15", "SUSE"),
    OsType(DEFAULT, "Linux"),
    OsType("Other (64-bit)", "Other"),
    OsType("Rocky Linux 9", "Rocky Linux"),
    OsType("Ubuntu 22.04 LTS", "Ubuntu"),
    OsType("Ubuntu 24.04 LTS", "Ubuntu"),
    OsType("Windows Server 2022 (64-bit)", "Windows"),
)
CATEGORIES: tuple[str, ...] = tuple(sorted({item.category for item in OS_TYPES}))
_BY_ID = {item.id: item for item in OS_TYPES}
_BY_NAME = {item.description: item for item in OS_TYPES}


def os_type_by_id(os_id: str) -> OsType | None:
    """The kind with this uuid, None if there is none."""
    return _BY_ID.get(os_id.lower())


def os_type_by_name(description: str) -> OsType | None:
    """The kind with this description, None if there is none."""
    return _BY_NAME.get(description)
