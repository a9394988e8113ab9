"""Volumes and templates. Sizes in bytes."""

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from mgmt.model.states import TemplateState, VolumeKind, VolumeState
from mgmt.store.tables.base import Base, Owned


class Template(Owned, Base, kw_only=True):
    """A template, kept by the zone's storage VM. `checksum` is `<algorithm>:<hex>` as the owner declared it,
    `sha256` what the storage VM found; `reason` says why a download failed."""

    __tablename__ = "template"
    zone_id: Mapped[str] = mapped_column(ForeignKey("zone.id"), index=True)
    name: Mapped[str] = mapped_column(String(255), index=True)
    display_text: Mapped[str]
    url: Mapped[str] = mapped_column(repr=False)
    format: Mapped[str] = mapped_column(default="QCOW2")
    hypervisor: Mapped[str] = mapped_column(default="KVM")
    os_type: Mapped[str] = mapped_column(default="Other Linux (64-bit)")
    checksum: Mapped[str] = mapped_column(default="")
    is_public: Mapped[bool] = mapped_column(default=False)
    is_featured: Mapped[bool] = mapped_column(default=False)
    is_extractable: Mapped[bool] = mapped_column(default=False)
    password_enabled: Mapped[bool] = mapped_column(default=False)
    is_builtin: Mapped[bool] = mapped_column(default=False)
    state: Mapped[str] = mapped_column(default=TemplateState.downloading, index=True)
    percent: Mapped[int] = mapped_column(default=0)
    size: Mapped[int] = mapped_column(BigInteger, default=0)
    virtual_size: Mapped[int] = mapped_column(BigInteger, default=0)
    sha256: Mapped[str] = mapped_column(default="")
    reason: Mapped[str] = mapped_column(default="")


class Volume(Owned, Base, kw_only=True):
    """A disk. `device` is its position on the VM (0 is the root disk)."""

    __tablename__ = "volume"
    zone_id: Mapped[str] = mapped_column(ForeignKey("zone.id"), index=True)
    pool_id: Mapped[str | None] = mapped_column(ForeignKey("storage_pool.id"), index=True, default=None)
    vm_id: Mapped[str | None] = mapped_column(ForeignKey("vm.id"), index=True, default=None)
    offering_id: Mapped[str | None] = mapped_column(ForeignKey("disk_offering.id"), default=None)
    template_id: Mapped[str | None] = mapped_column(ForeignKey("template.id"), index=True, default=None)
    name: Mapped[str] = mapped_column(String(255))
    kind: Mapped[str] = mapped_column(default=VolumeKind.data)
    size: Mapped[int] = mapped_column(BigInteger)
    device: Mapped[int | None] = mapped_column(default=None)
    state: Mapped[str] = mapped_column(default=VolumeState.allocated)
