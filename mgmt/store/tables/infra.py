"""Zones, pods, clusters, hosts, pools, stores, physical networks and address ranges."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from mgmt.model.states import Allocation
from mgmt.store.tables.base import Base, Identified, unique_live


class Region(Base, kw_only=True):
    """A region; its id is a number that the operator chose."""

    __tablename__ = "region"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(255), unique=True)
    endpoint: Mapped[str]


class Zone(Identified, Base, kw_only=True):
    """A data centre. `guest_cidr` is where isolated networks take their addresses by default."""

    __tablename__ = "zone"
    name: Mapped[str] = mapped_column(String(255), index=True)
    dns1: Mapped[str]
    dns2: Mapped[str | None] = mapped_column(default=None)
    internal_dns1: Mapped[str]
    internal_dns2: Mapped[str | None] = mapped_column(default=None)
    network_domain: Mapped[str | None] = mapped_column(default=None)
    guest_cidr: Mapped[str] = mapped_column(default="10.1.1.0/24")
    network_type: Mapped[str] = mapped_column(default="Advanced")
    local_storage: Mapped[bool] = mapped_column(default=True)
    allocation: Mapped[str] = mapped_column(default=Allocation.disabled)


class Pod(Identified, Base, kw_only=True):
    """A management network: system VMs take their management addresses from `start_ip`..`end_ip`."""

    __tablename__ = "pod"
    zone_id: Mapped[str] = mapped_column(ForeignKey("zone.id"), index=True)
    name: Mapped[str] = mapped_column(String(255))
    gateway: Mapped[str]
    netmask: Mapped[str]
    start_ip: Mapped[str]
    end_ip: Mapped[str]
    allocation: Mapped[str] = mapped_column(default=Allocation.enabled)


class Cluster(Identified, Base, kw_only=True):
    """Hosts of one hypervisor."""

    __tablename__ = "cluster"
    zone_id: Mapped[str] = mapped_column(ForeignKey("zone.id"), index=True)
    pod_id: Mapped[str] = mapped_column(ForeignKey("pod.id"), index=True)
    name: Mapped[str] = mapped_column(String(255))
    hypervisor: Mapped[str] = mapped_column(default="KVM")
    cluster_type: Mapped[str] = mapped_column(default="CloudManaged")
    allocation: Mapped[str] = mapped_column(default=Allocation.enabled)


class Host(Identified, Base, kw_only=True):
    """A hypervisor host. `address` is its management address; sizes in MiB; `acceleration` by trial.

    `generation` numbers the documents of its networks; `networks` are the ids in the one that it took last,
    empty while it is being told another.
    """

    __tablename__ = "host"
    __table_args__ = (Index("ix_host_first_fit", "zone_id", "created", "name"),)
    zone_id: Mapped[str] = mapped_column(ForeignKey("zone.id"), index=True)
    pod_id: Mapped[str] = mapped_column(ForeignKey("pod.id"), index=True)
    cluster_id: Mapped[str] = mapped_column(ForeignKey("cluster.id"), index=True)
    name: Mapped[str] = mapped_column(String(255))
    driver: Mapped[str] = mapped_column(default="kvm")
    address: Mapped[str]
    port: Mapped[int]
    tunnel_port: Mapped[int]
    relay_port: Mapped[int]
    acceleration: Mapped[str] = mapped_column(default="qemu")
    cpus: Mapped[int] = mapped_column(default=0)
    cpu_mhz: Mapped[int] = mapped_column(default=0)
    memory_mib: Mapped[int] = mapped_column(default=0)
    version: Mapped[str] = mapped_column(default="")
    state: Mapped[str] = mapped_column(default="Connecting")
    resource_state: Mapped[str] = mapped_column(default="Enabled")
    tags: Mapped[list[str]] = mapped_column(default_factory=list)
    last_seen: Mapped[datetime | None] = mapped_column(default=None)
    generation: Mapped[int] = mapped_column(default=0)
    networks: Mapped[list[str]] = mapped_column(default_factory=list)


class StoragePool(Identified, Base, kw_only=True):
    """Primary storage: a directory on one host (`scope` HOST), or one that a cluster or a zone shares.

    `path` is what the host calls its own, or where a shared one is mounted on all. Sizes in bytes.
    """

    __tablename__ = "storage_pool"
    zone_id: Mapped[str] = mapped_column(ForeignKey("zone.id"), index=True)
    pod_id: Mapped[str | None] = mapped_column(ForeignKey("pod.id"), default=None)
    cluster_id: Mapped[str | None] = mapped_column(ForeignKey("cluster.id"), default=None)
    host_id: Mapped[str | None] = mapped_column(ForeignKey("host.id"), index=True, default=None)
    name: Mapped[str] = mapped_column(String(255))
    path: Mapped[str]
    type: Mapped[str] = mapped_column(default="Filesystem")
    scope: Mapped[str] = mapped_column(default="HOST")
    driver: Mapped[str] = mapped_column(default="directory")
    tags: Mapped[list[str]] = mapped_column(default_factory=list)
    capacity: Mapped[int] = mapped_column(BigInteger, default=0)
    used: Mapped[int] = mapped_column(BigInteger, default=0)
    state: Mapped[str] = mapped_column(default="Up")


class PoolHost(Base, kw_only=True):
    """A host that reaches a shared pool, by its own last word."""

    __tablename__ = "pool_host"
    pool_id: Mapped[str] = mapped_column(ForeignKey("storage_pool.id"), primary_key=True)
    host_id: Mapped[str] = mapped_column(ForeignKey("host.id"), primary_key=True, index=True)


class ImageStore(Identified, Base, kw_only=True):
    """Secondary storage, kept by the zone's storage VM on its own data disk."""

    __tablename__ = "image_store"
    zone_id: Mapped[str] = mapped_column(ForeignKey("zone.id"), index=True)
    name: Mapped[str] = mapped_column(String(255))
    provider: Mapped[str] = mapped_column(default="Pileus")
    url: Mapped[str] = mapped_column(default="")
    capacity: Mapped[int] = mapped_column(BigInteger, default=20 * 1024**3)


class PhysicalNetwork(Identified, Base, kw_only=True):
    """A physical network of a zone; guest networks take their VXLAN ids from `vni_first`..`vni_last`."""

    __tablename__ = "physical_network"
    zone_id: Mapped[str] = mapped_column(ForeignKey("zone.id"), index=True)
    name: Mapped[str] = mapped_column(String(255))
    isolation: Mapped[str] = mapped_column(default="VXLAN")
    state: Mapped[str] = mapped_column(default="Disabled")
    vni_first: Mapped[int] = mapped_column(default=10000)
    vni_last: Mapped[int] = mapped_column(default=19999)


class TrafficType(Identified, Base, kw_only=True):
    """Which bridge carries a kind of traffic (Public, Management, Guest) on the hosts."""

    __tablename__ = "traffic_type"
    __table_args__ = (unique_live("physical_network_id", "type"),)
    physical_network_id: Mapped[str] = mapped_column(ForeignKey("physical_network.id"), index=True)
    type: Mapped[str]
    label: Mapped[str | None] = mapped_column(default=None)


class VlanRange(Identified, Base, kw_only=True):
    """A range of public addresses; each address is a row of `public_address`."""

    __tablename__ = "vlan_range"
    zone_id: Mapped[str] = mapped_column(ForeignKey("zone.id"), index=True)
    physical_network_id: Mapped[str] = mapped_column(ForeignKey("physical_network.id"))
    vlan: Mapped[str] = mapped_column(default="vlan://untagged")
    gateway: Mapped[str]
    netmask: Mapped[str]
    start_ip: Mapped[str]
    end_ip: Mapped[str]
    account_id: Mapped[str | None] = mapped_column(ForeignKey("account.id"), index=True, default=None)
    domain_id: Mapped[str | None] = mapped_column(ForeignKey("domain.id"), index=True, default=None)


class ServiceProvider(Identified, Base, kw_only=True):
    """A provider of network services on a physical network, as `VirtualRouter`."""

    __tablename__ = "service_provider"
    __table_args__ = (unique_live("physical_network_id", "name"),)
    physical_network_id: Mapped[str] = mapped_column(ForeignKey("physical_network.id"), index=True)
    name: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16), default="Enabled")


class Dedication(Identified, Base, kw_only=True):
    """A zone, pod, cluster or host that serves one domain, or one account of it, alone."""

    __tablename__ = "dedication"
    __table_args__ = (unique_live("resource_id"),)
    resource_type: Mapped[str] = mapped_column(String(8))
    resource_id: Mapped[str] = mapped_column(String(36))
    domain_id: Mapped[str] = mapped_column(ForeignKey("domain.id"), index=True)
    account_id: Mapped[str | None] = mapped_column(ForeignKey("account.id"), index=True, default=None)


class ManagementServer(Identified, Base, kw_only=True):
    """A management server that shares this database; `last_seen` is its heartbeat, by the database's clock.

    `incarnation` is new with each start: what an earlier one left behind is known by it. `removed` is set
    when it stops in an orderly way; one that just falls silent becomes Down.
    """

    __tablename__ = "management_server"
    name: Mapped[str] = mapped_column(String(255))
    version: Mapped[str] = mapped_column(String(32))
    incarnation: Mapped[str] = mapped_column(String(36))
    address: Mapped[str]
    kernel: Mapped[str]
    processors: Mapped[int]
    state: Mapped[str] = mapped_column(String(16), default="Up")
    started: Mapped[datetime]
    last_seen: Mapped[datetime]
