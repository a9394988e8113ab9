"""VMs (tenants' and system), their NICs, and what they are deployed with: SSH keys, user data, groups."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from mgmt.model.states import VmSnapshotState, VmState
from mgmt.store.tables.base import Base, Owned, unique_live


class Vm(Owned, Base, kw_only=True):
    """A VM of any kind. `desired_power` is what its owner wants, `state` what the host reports.

    `user_data` is base64 text, `user_data_values` the variables that its owner set for it; `password` is
    sealed and `password_id` changes with every new one.
    `generation` counts the documents compiled for a system VM, `applied` the last one it accepted (of a
    tenant's VM they differ while nobody knows whether its host has its newest definition);
    `cpus`, `cpu_speed` (MHz) and `memory` (MiB) are set where the offering leaves them to the user.
    `reason` says in one sentence why the VM is in its state; `target_host_id` is where it moves while it is
    Migrating: it takes room there too.
    """

    __tablename__ = "vm"
    __table_args__ = (
        Index("ix_vm_list", "account_id", "removed", "created"),
        Index(None, "kind", "zone_id"),  # a zone has few system VMs, and thousands of others
    )
    kind: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(String(63), index=True)
    display_name: Mapped[str] = mapped_column(default="")
    instance_name: Mapped[str] = mapped_column(String(63), unique=True)
    zone_id: Mapped[str] = mapped_column(ForeignKey("zone.id"), index=True)
    host_id: Mapped[str | None] = mapped_column(ForeignKey("host.id"), index=True, default=None)
    last_host_id: Mapped[str | None] = mapped_column(ForeignKey("host.id"), default=None)
    target_host_id: Mapped[str | None] = mapped_column(ForeignKey("host.id"), index=True, default=None)
    offering_id: Mapped[str] = mapped_column(ForeignKey("service_offering.id"))
    template_id: Mapped[str | None] = mapped_column(ForeignKey("template.id"), default=None)
    network_id: Mapped[str | None] = mapped_column(ForeignKey("network.id"), index=True, default=None)
    state: Mapped[str] = mapped_column(String(16), default=VmState.stopped, index=True)
    desired_power: Mapped[str] = mapped_column(default="stopped")
    reason: Mapped[str] = mapped_column(default="")
    reboots: Mapped[int] = mapped_column(default=0)
    generation: Mapped[int] = mapped_column(default=0)
    applied: Mapped[int] = mapped_column(default=0)
    healthy: Mapped[bool] = mapped_column(default=False)
    linklocal_address: Mapped[str | None] = mapped_column(default=None)
    management_address: Mapped[str | None] = mapped_column(default=None)
    group_id: Mapped[str | None] = mapped_column(ForeignKey("instance_group.id"), index=True, default=None)
    iso_id: Mapped[str | None] = mapped_column(ForeignKey("template.id"), index=True, default=None)
    os_type: Mapped[str | None] = mapped_column(default=None)
    cpus: Mapped[int | None] = mapped_column(default=None)
    cpu_speed: Mapped[int | None] = mapped_column(default=None)
    memory: Mapped[int | None] = mapped_column(default=None)
    delete_protection: Mapped[bool] = mapped_column(default=False)
    user_data_id: Mapped[str | None] = mapped_column(ForeignKey("user_data.id"), index=True, default=None)
    user_data: Mapped[str] = mapped_column(default="", repr=False)
    user_data_values: Mapped[dict[str, str]] = mapped_column(default_factory=dict, repr=False)
    key_names: Mapped[list[str]] = mapped_column(default_factory=list)
    public_keys: Mapped[list[str]] = mapped_column(default_factory=list)
    password: Mapped[str | None] = mapped_column(default=None, repr=False)
    password_id: Mapped[str | None] = mapped_column(default=None)
    details: Mapped[dict[str, Any]] = mapped_column(default_factory=dict)
    last_start: Mapped[datetime | None] = mapped_column(default=None)


class Nic(Owned, Base, kw_only=True):
    """A NIC. For guests `network_id` is set; system VMs also have linklocal, management, public NICs."""

    __tablename__ = "nic"
    __table_args__ = (unique_live("mac"), unique_live("network_id", "address"))
    vm_id: Mapped[str] = mapped_column(ForeignKey("vm.id"), index=True)
    network_id: Mapped[str | None] = mapped_column(ForeignKey("network.id"), index=True, default=None)
    purpose: Mapped[str] = mapped_column(default="guest")
    position: Mapped[int] = mapped_column(default=0)
    mac: Mapped[str] = mapped_column(String(17))
    address: Mapped[str | None] = mapped_column(default=None)
    netmask: Mapped[str | None] = mapped_column(default=None)
    gateway: Mapped[str | None] = mapped_column(default=None)
    is_default: Mapped[bool] = mapped_column(default=False)


class SshKeyPair(Owned, Base, kw_only=True):
    """A public key; private keys are returned once by createSSHKeyPair and never stored."""

    __tablename__ = "ssh_key_pair"
    __table_args__ = (unique_live("account_id", "name"),)
    name: Mapped[str] = mapped_column(String(255))
    fingerprint: Mapped[str] = mapped_column(String(47))
    public_key: Mapped[str]


class NicAddress(Owned, Base, kw_only=True):
    """A secondary address of a NIC."""

    __tablename__ = "nic_address"
    __table_args__ = (unique_live("network_id", "address"),)
    nic_id: Mapped[str] = mapped_column(ForeignKey("nic.id"), index=True)
    network_id: Mapped[str] = mapped_column(ForeignKey("network.id"), index=True)
    address: Mapped[str] = mapped_column(String(15))


class InstanceGroup(Owned, Base, kw_only=True):
    """A name that VMs are shown under."""

    __tablename__ = "instance_group"
    __table_args__ = (unique_live("account_id", "name"),)
    name: Mapped[str] = mapped_column(String(255))


class AffinityGroup(Owned, Base, kw_only=True):
    """VMs that belong on one host or on different ones, strictly or not; `type` is CloudStack's name."""

    __tablename__ = "affinity_group"
    __table_args__ = (unique_live("account_id", "name"),)
    name: Mapped[str] = mapped_column(String(255))
    description: Mapped[str] = mapped_column(default="")
    type: Mapped[str] = mapped_column(String(32))


class AffinityMember(Base, kw_only=True):
    """A VM in an affinity group."""

    __tablename__ = "affinity_member"
    group_id: Mapped[str] = mapped_column(ForeignKey("affinity_group.id"), primary_key=True)
    vm_id: Mapped[str] = mapped_column(ForeignKey("vm.id"), primary_key=True, index=True)


class UserData(Owned, Base, kw_only=True):
    """User data under a name, base64; `parameters` are the variables that a VM may set."""

    __tablename__ = "user_data"
    __table_args__ = (unique_live("account_id", "name"),)
    name: Mapped[str] = mapped_column(String(255))
    data: Mapped[str] = mapped_column(repr=False)
    parameters: Mapped[list[str]] = mapped_column(default_factory=list)


class VmSnapshot(Owned, Base, kw_only=True):
    """All disks of a VM at one moment, and its memory if `kind` is `DiskAndMemory`.

    The VM's disks go on from the one that `is_current`. `size` is that of the disks, `physical_size` what
    the snapshot took when it was made, in bytes.
    """

    __tablename__ = "vm_snapshot"
    __table_args__ = (unique_live("vm_id", "display_name"),)
    zone_id: Mapped[str] = mapped_column(ForeignKey("zone.id"))
    vm_id: Mapped[str] = mapped_column(ForeignKey("vm.id"), index=True)
    name: Mapped[str] = mapped_column(String(255))
    display_name: Mapped[str] = mapped_column(String(255))
    description: Mapped[str] = mapped_column(default="")
    kind: Mapped[str] = mapped_column(String(16), default="Disk")
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("vm_snapshot.id"), default=None)
    is_current: Mapped[bool] = mapped_column(default=False)
    state: Mapped[str] = mapped_column(String(16), default=VmSnapshotState.creating)
    size: Mapped[int] = mapped_column(BigInteger, default=0)
    physical_size: Mapped[int] = mapped_column(BigInteger, default=0)
