"""Volumes, snapshots, templates and ISOs. Sizes in bytes."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from mgmt.model.os_types import DEFAULT
from mgmt.model.states import TemplateState, VolumeKind, VolumeState
from mgmt.store.tables.base import Base, Owned, unique_live


class Template(Owned, Base, kw_only=True):
    """A template or ISO (`kind`), kept by the zone's storage VM.

    `checksum` is `<algorithm>:<hex>` as the owner declared it, `sha256` what the storage VM found; `reason`
    says why a download failed; `source_id` is the volume or snapshot it was made from. In other zones it has
    rows of their own with its id as `home_id`; `copied_from` is then the row whose file they get. VMs get the
    user data `user_data_id`, unless `user_data_policy` (CloudStack's words) lets them bring their own.
    """

    __tablename__ = "template"
    zone_id: Mapped[str] = mapped_column(ForeignKey("zone.id"), index=True)
    name: Mapped[str] = mapped_column(String(255), index=True)
    display_text: Mapped[str]
    url: Mapped[str] = mapped_column(repr=False)
    format: Mapped[str] = mapped_column(default="QCOW2")
    hypervisor: Mapped[str] = mapped_column(default="KVM")
    os_type: Mapped[str] = mapped_column(default=DEFAULT)
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
    kind: Mapped[str] = mapped_column(String(8), default="template", index=True)
    bootable: Mapped[bool] = mapped_column(default=True)
    source_id: Mapped[str | None] = mapped_column(String(36), default=None)
    home_id: Mapped[str | None] = mapped_column(String(36), index=True, default=None)
    copied_from: Mapped[str | None] = mapped_column(String(36), default=None)
    user_data_id: Mapped[str | None] = mapped_column(ForeignKey("user_data.id"), default=None)
    user_data_policy: Mapped[str | None] = mapped_column(String(16), default=None)
    details: Mapped[dict[str, str]] = mapped_column(default_factory=dict)


class TemplatePermission(Base, kw_only=True):
    """An account that may use a template it does not own."""

    __tablename__ = "template_permission"
    template_id: Mapped[str] = mapped_column(ForeignKey("template.id"), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("account.id"), primary_key=True, index=True)


class Volume(Owned, Base, kw_only=True):
    """A disk. `device` is its position on the VM (0 is the root disk); `target_pool_id` is where it moves."""

    __tablename__ = "volume"
    zone_id: Mapped[str] = mapped_column(ForeignKey("zone.id"), index=True)
    pool_id: Mapped[str | None] = mapped_column(ForeignKey("storage_pool.id"), index=True, default=None)
    target_pool_id: Mapped[str | None] = mapped_column(
        ForeignKey("storage_pool.id"), index=True, default=None
    )
    vm_id: Mapped[str | None] = mapped_column(ForeignKey("vm.id"), index=True, default=None)
    offering_id: Mapped[str | None] = mapped_column(ForeignKey("disk_offering.id"), default=None)
    template_id: Mapped[str | None] = mapped_column(ForeignKey("template.id"), index=True, default=None)
    snapshot_id: Mapped[str | None] = mapped_column(String(36), default=None)
    name: Mapped[str] = mapped_column(String(255))
    kind: Mapped[str] = mapped_column(default=VolumeKind.data)
    size: Mapped[int] = mapped_column(BigInteger)
    device: Mapped[int | None] = mapped_column(default=None)
    state: Mapped[str] = mapped_column(default=VolumeState.allocated)


class VolumeUpload(Base, kw_only=True):
    """A volume that its owner brings, until it is moved to a pool: kept by the storage VM under its id.

    It is fetched from `url`, or sent if that is empty. `size` is its file's, in bytes; `reason` says why it
    failed.
    """

    __tablename__ = "volume_upload"
    volume_id: Mapped[str] = mapped_column(ForeignKey("volume.id"), primary_key=True)
    url: Mapped[str] = mapped_column(default="", repr=False)
    format: Mapped[str] = mapped_column(String(8))
    checksum: Mapped[str] = mapped_column(default="")
    percent: Mapped[int] = mapped_column(default=0)
    size: Mapped[int] = mapped_column(BigInteger, default=0)
    sha256: Mapped[str] = mapped_column(default="")
    reason: Mapped[str] = mapped_column(default="")


class VolumeExport(Owned, Base, kw_only=True):
    """A copy of a volume in the storage VM, for its owner to download until it `expires`.

    `state` is Creating or Ready; `physical_size` is the file's, in bytes.
    """

    __tablename__ = "volume_export"
    zone_id: Mapped[str] = mapped_column(ForeignKey("zone.id"), index=True)
    volume_id: Mapped[str] = mapped_column(ForeignKey("volume.id"), index=True)
    state: Mapped[str] = mapped_column(String(16), default="Creating")
    physical_size: Mapped[int] = mapped_column(BigInteger, default=0)
    expires: Mapped[datetime] = mapped_column(index=True)


class Snapshot(Owned, Base, kw_only=True):
    """A volume at one moment, kept by the zone's storage VM. `kind` is MANUAL, HOURLY … MONTHLY.

    `size` is the volume's, `physical_size` what the snapshot takes; `reason` says why it failed.
    """

    __tablename__ = "snapshot"
    zone_id: Mapped[str] = mapped_column(ForeignKey("zone.id"), index=True)
    volume_id: Mapped[str] = mapped_column(ForeignKey("volume.id"), index=True)
    policy_id: Mapped[str | None] = mapped_column(ForeignKey("snapshot_policy.id"), index=True, default=None)
    name: Mapped[str] = mapped_column(String(255))
    kind: Mapped[str] = mapped_column(String(8), default="MANUAL")
    state: Mapped[str] = mapped_column(String(16), default="Allocated")
    size: Mapped[int] = mapped_column(BigInteger, default=0)
    physical_size: Mapped[int] = mapped_column(BigInteger, default=0)
    sha256: Mapped[str] = mapped_column(default="")
    reason: Mapped[str] = mapped_column(default="")


class SnapshotPolicy(Owned, Base, kw_only=True):
    """Snapshots by the clock: `interval` 0 (hourly) to 3, `schedule` as CloudStack writes it; keep `most`."""

    __tablename__ = "snapshot_policy"
    __table_args__ = (unique_live("volume_id", "interval"),)
    volume_id: Mapped[str] = mapped_column(ForeignKey("volume.id"))
    interval: Mapped[int]
    schedule: Mapped[str] = mapped_column(String(32))
    timezone: Mapped[str] = mapped_column(String(64), default="UTC")
    most: Mapped[int]
    next_run: Mapped[datetime] = mapped_column(index=True)
