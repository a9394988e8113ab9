"""Service, disk and network offerings."""

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from mgmt.store.tables.base import Base, Identified


class ServiceOffering(Identified, Base, kw_only=True):
    """Size of a VM. `memory` in MiB, `cpu_speed` in MHz; `root_disk_bytes` 0 means the template's size.

    With `customized` the user says, at least `cpus` and `memory`, at most `max_cpus` and `max_memory`. Hosts
    need all of `host_tags`, the root disk's pool all of `storage_tags`.
    """

    __tablename__ = "service_offering"
    name: Mapped[str] = mapped_column(String(255), index=True)
    display_text: Mapped[str]
    cpus: Mapped[int]
    cpu_speed: Mapped[int] = mapped_column(default=500)
    memory: Mapped[int]
    customized: Mapped[bool] = mapped_column(default=False)
    max_cpus: Mapped[int | None] = mapped_column(default=None)
    max_memory: Mapped[int | None] = mapped_column(default=None)
    host_tags: Mapped[list[str]] = mapped_column(default_factory=list)
    storage_tags: Mapped[list[str]] = mapped_column(default_factory=list)
    root_disk_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    storage_type: Mapped[str] = mapped_column(default="local")
    system_vm_type: Mapped[str | None] = mapped_column(default=None)
    default_use: Mapped[bool] = mapped_column(default=False)
    state: Mapped[str] = mapped_column(default="Active")


class DiskOffering(Identified, Base, kw_only=True):
    """Size of a data disk; `disk_bytes` 0 with `customized` means the user says. Pools need all of `tags`."""

    __tablename__ = "disk_offering"
    name: Mapped[str] = mapped_column(String(255), index=True)
    display_text: Mapped[str]
    disk_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    customized: Mapped[bool] = mapped_column(default=False)
    tags: Mapped[list[str]] = mapped_column(default_factory=list)
    storage_type: Mapped[str] = mapped_column(default="local")
    state: Mapped[str] = mapped_column(default="Active")


class NetworkOffering(Identified, Base, kw_only=True):
    """What services a guest network has: `services` maps service to provider (CloudStack's names)."""

    __tablename__ = "network_offering"
    name: Mapped[str] = mapped_column(String(255), index=True)
    display_text: Mapped[str]
    guest_type: Mapped[str] = mapped_column(default="Isolated")
    traffic_type: Mapped[str] = mapped_column(default="Guest")
    egress_default: Mapped[bool] = mapped_column(default=False)
    services: Mapped[dict[str, Any]] = mapped_column(default_factory=dict)
    availability: Mapped[str] = mapped_column(default="Optional")
    is_default: Mapped[bool] = mapped_column(default=False)
    state: Mapped[str] = mapped_column(default="Enabled")


class OfferingDomain(Base, kw_only=True):
    """A domain for whose accounts, and those below it, an offering is; one without is for everybody."""

    __tablename__ = "offering_domain"
    offering_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    domain_id: Mapped[str] = mapped_column(ForeignKey("domain.id"), primary_key=True)
