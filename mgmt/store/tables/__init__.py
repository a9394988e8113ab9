"""Tables, one module per area; importing this package registers all of them."""

from mgmt.store.tables.base import Base
from mgmt.store.tables.compute import Nic, SshKeyPair, Vm
from mgmt.store.tables.identity import Account, Domain, LoginSession, User
from mgmt.store.tables.infra import (
    Cluster,
    Host,
    ImageStore,
    PhysicalNetwork,
    Pod,
    StoragePool,
    TrafficType,
    VlanRange,
    Zone,
)
from mgmt.store.tables.network import (
    BalancerMember,
    BalancerRule,
    EgressRule,
    FirewallRule,
    Network,
    PortForwardingRule,
    PublicAddress,
)
from mgmt.store.tables.offerings import DiskOffering, NetworkOffering, ServiceOffering
from mgmt.store.tables.operations import Event, Job, Setting, Tag
from mgmt.store.tables.storage import Template, Volume

__all__ = [
    "Account",
    "BalancerMember",
    "BalancerRule",
    "Base",
    "Cluster",
    "DiskOffering",
    "Domain",
    "EgressRule",
    "Event",
    "FirewallRule",
    "Host",
    "ImageStore",
    "Job",
    "LoginSession",
    "Network",
    "NetworkOffering",
    "Nic",
    "PhysicalNetwork",
    "Pod",
    "PortForwardingRule",
    "PublicAddress",
    "ServiceOffering",
    "Setting",
    "SshKeyPair",
    "StoragePool",
    "Tag",
    "Template",
    "TrafficType",
    "User",
    "VlanRange",
    "Vm",
    "Volume",
    "Zone",
]
