"""What a zone still needs before its system VMs can run in it, in words for whoever builds it."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.model.states import VmKind
from mgmt.ops.machines.system_vm_workflows import ZONE_KINDS
from mgmt.store.tables import Host, ImageStore, PhysicalNetwork, Pod, StoragePool, TrafficType, VlanRange, Vm

LABELLED = ("Management", "Public")
_NEEDED: tuple[tuple[Any, str], ...] = (
    (Pod, "a pod (createPod)"),
    (StoragePool, "a storage pool (createStoragePool)"),
    (ImageStore, "an image store (addImageStore)"),
    (VlanRange, "public addresses (createVlanIpRange)"),
)


def lacking_kinds(session: Session, zone_id: str) -> tuple[VmKind, ...]:
    """The kinds of system VMs that a zone should have and has not."""
    query = select(Vm.kind).where(Vm.zone_id == zone_id, Vm.removed.is_(None), Vm.kind != VmKind.user)
    there = set(session.scalars(query))
    return tuple(kind for kind in ZONE_KINDS if kind not in there)


def has_host(session: Session, zone_id: str) -> bool:
    """Whether a host of the zone is Up."""
    query = select(Host.id).where(Host.zone_id == zone_id, Host.removed.is_(None), Host.state == "Up")
    return session.scalar(query.limit(1)) is not None


def what_is_missing(session: Session, zone_id: str) -> list[str]:
    """What a zone's system VMs need and it has not, with the command that adds it."""
    found = [] if has_host(session, zone_id) else ["a host that is Up (addHost)"]
    for table, words in _NEEDED:
        query = select(table.id).where(table.zone_id == zone_id, table.removed.is_(None))
        if session.scalar(query.limit(1)) is None:
            found.append(words)
    traffic = (
        select(TrafficType.type)
        .join(PhysicalNetwork, PhysicalNetwork.id == TrafficType.physical_network_id)
        .where(PhysicalNetwork.zone_id == zone_id, TrafficType.label.is_not(None))
    )
    labelled = set(session.scalars(traffic))
    return found + [
        f"the kvmnetworklabel of its {kind} traffic (addTrafficType, updateTrafficType)"
        for kind in LABELLED
        if kind not in labelled
    ]
