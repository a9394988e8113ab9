"""Volumes. Offerings and requests are in GiB, rows and answers in bytes."""

from typing import Annotated, Any

from msgspec import Meta
from sqlalchemy import Select, or_, select

from mgmt.alloc.counted import amounts_of_volumes
from mgmt.alloc.limits import reserve_all
from mgmt.api.absent import CustomId, Rate, Shown
from mgmt.api.access import EVERYONE, Ref
from mgmt.api.call import Call
from mgmt.api.commands.snapshots import check_kept
from mgmt.api.lists import AllAre, CountAnyway, Equals, OwnedListCommand, ShownToUsers
from mgmt.api.ownership import OwnerAccount, OwnerDomain, OwnerProject
from mgmt.api.params import Unsupported, wrong_value
from mgmt.api.registry import DONE, AsyncCommand, Response, Spec, SyncCommand
from mgmt.api.responses.volumes import VOLUME
from mgmt.model.errors import InUse, ParameterError
from mgmt.model.states import VmKind, VmState, VolumeKind, VolumeState
from mgmt.ops import names
from mgmt.ops.compute.vm_snapshots import refuse_with_snapshots
from mgmt.store.tables import (
    Cluster,
    DiskOffering,
    Host,
    Job,
    Pod,
    Snapshot,
    StoragePool,
    Vm,
    Volume,
    Zone,
)

GIB = 1024**3
#: States of volumes that have a content, or will be blank.
ATTACHABLE = (VolumeState.allocated, VolumeState.uploaded, VolumeState.ready)
LARGEST_GIB = 1024
#: Most disks of one VM: virtio-blk letters vda to vdz leave room, PCI slots do not (16 hot-plug ports).
MOST_DEVICES = 15


class ListVolumes(OwnedListCommand, kw_only=True, frozen=True):
    """Lists volumes."""

    spec = Spec(answer=VOLUME, access=EVERYONE)
    searched = (Volume.name,)
    tag_type = "Volume"

    name: Annotated[str | None, Equals(Volume.name)] = None
    type: Annotated[str | None, "ROOT or DATADISK", Equals(Volume.kind)] = None
    state: Annotated[str | None, Equals(Volume.state)] = None
    virtualmachineid: Annotated[str | None, Ref(Vm), Equals(Volume.vm_id)] = None
    zoneid: Annotated[str | None, Ref(Zone, use=True), Equals(Volume.zone_id)] = None
    diskofferingid: Annotated[str | None, Ref(DiskOffering, use=True), Equals(Volume.offering_id)] = None
    storageid: Annotated[str | None, Ref(StoragePool), Equals(Volume.pool_id)] = None
    hostid: Annotated[str | None, Ref(Host), "list only volumes of this host's VMs"] = None
    podid: Annotated[str | None, Ref(Pod), "list only volumes on hosts of this pod"] = None
    clusterid: Annotated[str | None, Ref(Cluster), "list only volumes on hosts of this cluster"] = None
    displayvolume: ShownToUsers = None
    listsystemvms: Annotated[bool, Unsupported("listSystemVms shows what the system has")] = False
    isencrypted: Annotated[bool | None, "true for encrypted ones: none", AllAre(False)] = None
    retrieveonlyresourcecount: CountAnyway = False

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """System VMs' disks are not users' volumes."""
        # Not the other way round: a cloud has few system VMs, and many of users.
        query = query.where(Volume.vm_id.is_(None) | Volume.vm_id.not_in(_system_vms()))
        if self.hostid:
            query = query.where(Volume.vm_id.in_(select(Vm.id).where(Vm.host_id == self.hostid)))
        for column, shared, wanted in (
            (Host.pod_id, StoragePool.pod_id, self.podid),
            (Host.cluster_id, StoragePool.cluster_id, self.clusterid),
        ):
            if wanted:
                pools = select(StoragePool.id).outerjoin(Host, Host.id == StoragePool.host_id)
                query = query.where(Volume.pool_id.in_(pools.where(or_(column == wanted, shared == wanted))))
        return query


class CreateVolume(AsyncCommand, kw_only=True, frozen=True):
    """Creates a data volume, of an offering or a snapshot; its file is made when it is first attached."""

    spec = Spec(answer=VOLUME, access=EVERYONE, event="VOLUME.CREATE")
    creates = True

    name: str
    diskofferingid: Annotated[str | None, Ref(DiskOffering, use=True)] = None
    snapshotid: Annotated[str | None, Ref(Snapshot), "the snapshot whose content it gets"] = None
    zoneid: Annotated[str | None, Ref(Zone, use=True)] = None
    size: Annotated[int | None, "GiB, for offerings that leave it open", Meta(ge=1, le=LARGEST_GIB)] = None
    virtualmachineid: Annotated[str | None, Ref(Vm), "attach it to this VM"] = None
    account: OwnerAccount = None
    domainid: OwnerDomain = None
    projectid: OwnerProject = None
    customid: CustomId = None
    miniops: Rate = None
    maxiops: Rate = None
    displayvolume: Shown = None

    def run(self, call: Call) -> Job:
        """Check and insert."""
        vm = call.row_or_none(Vm, self.virtualmachineid)
        snapshot = call.row_or_none(Snapshot, self.snapshotid)
        zone_id = self.zoneid or (vm.zone_id if vm else None) or (snapshot.zone_id if snapshot else None)
        if zone_id is None:
            raise ParameterError("Send zoneid, or virtualmachineid of a VM in the zone")
        if vm is not None:
            check_attachable(vm)
            refuse_with_snapshots(call.session, vm, "no volume can be attached to it")
        offering = self._offering(call, snapshot)
        size = self._bytes(offering, snapshot)
        if snapshot is not None and snapshot.zone_id != zone_id:
            raise ParameterError(f"Snapshot {snapshot.name} is in another zone")
        reserve_all(call.session, call.owner.account, amounts_of_volumes(size))
        row = Volume(
            account_id=call.owner.account.id,
            domain_id=call.owner.domain.id,
            zone_id=zone_id,
            offering_id=offering.id if offering else None,
            snapshot_id=snapshot.id if snapshot else None,
            name=self.name,
            size=size,
        )
        call.session.add(row)
        call.session.flush()
        arguments = {"volume_id": row.id, "vm_id": vm.id if vm else None}
        return call.submit(names.CREATE_VOLUME, arguments, kind="Volume", about=row)

    def _offering(self, call: Call, snapshot: Snapshot | None) -> DiskOffering | None:
        """The one that was sent; of a snapshot, else that of its volume, which a root disk has none of."""
        if self.diskofferingid is not None:
            return call.row(DiskOffering, self.diskofferingid)
        if snapshot is None:
            raise ParameterError("Send diskofferingid, or snapshotid")
        check_kept(snapshot)
        volume = call.session.get_one(Volume, snapshot.volume_id)
        return call.session.get(DiskOffering, volume.offering_id) if volume.offering_id else None

    def _bytes(self, offering: DiskOffering | None, snapshot: Snapshot | None) -> int:
        is_fixed = offering is not None and self.diskofferingid is not None and not offering.customized
        if (
            offering is not None and is_fixed and self.size is not None
        ):  # as in CloudStack, also the same size
            raise wrong_value("size", str(self.size), f"nothing: {offering.name} fixes the size")
        size = self._plain_bytes(offering) if snapshot is None else self._bytes_of(snapshot, offering)
        if snapshot is not None and size < snapshot.size:
            words = f"Snapshot {snapshot.name} has {snapshot.size / GIB:g} GiB, the volume would have"
            raise ParameterError(f"{words} {size / GIB:g}: send a larger size or offering")
        return size

    def _bytes_of(self, snapshot: Snapshot, offering: DiskOffering | None) -> int:
        """What was sent, else what the offering says, else the snapshot's own."""
        check_kept(snapshot)
        if self.size is not None:
            return self.size * GIB
        fixed = offering.disk_bytes if offering and self.diskofferingid and not offering.customized else 0
        return fixed or snapshot.size

    def _plain_bytes(self, offering: DiskOffering | None) -> int:
        assert offering is not None  # noqa: S101 (only volumes of snapshots may lack one)
        if offering.customized:
            if self.size is None:
                raise ParameterError(f"Disk offering {offering.name} leaves the size open: send size in GiB")
            return self.size * GIB
        return offering.disk_bytes


class AttachVolume(AsyncCommand, kw_only=True, frozen=True):
    """Attaches a data volume to a VM, running or stopped."""

    spec = Spec(answer=VOLUME, access=EVERYONE, event="VOLUME.ATTACH")

    id: Annotated[str, Ref(Volume)]
    virtualmachineid: Annotated[str, Ref(Vm)]
    deviceid: Annotated[int | None, "its position, from 1", Meta(ge=1, le=MOST_DEVICES)] = None

    def run(self, call: Call) -> Job:
        """Both must be free and the same owner's."""
        row, vm = call.row(Volume, self.id), call.row(Vm, self.virtualmachineid)
        check_attachable(vm)
        refuse_with_snapshots(call.session, vm, "no volume can be attached to it")
        if row.vm_id is not None:
            raise InUse(f"Volume {row.name} is attached to a VM already; detach it first")
        if row.kind != VolumeKind.data or row.state not in ATTACHABLE:
            raise ParameterError(
                f"Volume {row.name} is a {row.kind} in state {row.state} and cannot be attached"
            )
        if row.account_id != vm.account_id:
            raise ParameterError(f"Volume {row.name} and VM {vm.name} belong to different accounts")
        if row.zone_id != vm.zone_id:
            raise ParameterError(f"Volume {row.name} and VM {vm.name} are in different zones")
        arguments = {"volume_id": row.id, "vm_id": vm.id, "device": self.deviceid}
        return call.submit(names.ATTACH_VOLUME, arguments, kind="Volume", about=row)


class DetachVolume(AsyncCommand, kw_only=True, frozen=True):
    """Detaches a data volume from its VM."""

    spec = Spec(answer=VOLUME, access=EVERYONE, event="VOLUME.DETACH")

    id: Annotated[str | None, Ref(Volume)] = None
    virtualmachineid: Annotated[str | None, Ref(Vm), "with deviceid, instead of id"] = None
    deviceid: Annotated[int | None, "its position on the VM"] = None

    def run(self, call: Call) -> Job:
        """The root disk stays."""
        row = self._row(call)
        if row.vm_id is None:
            raise ParameterError(f"Volume {row.name} is not attached")
        if row.kind == VolumeKind.root:
            raise ParameterError(f"Volume {row.name} is a root disk; it goes with its VM")
        vm = call.session.get_one(Vm, row.vm_id)
        refuse_with_snapshots(call.session, vm, f"volume {row.name} cannot be detached")
        return call.submit(names.DETACH_VOLUME, {"volume_id": row.id}, kind="Volume", about=row)

    def _row(self, call: Call) -> Volume:
        if self.id is not None:
            return call.row(Volume, self.id)
        if self.virtualmachineid is None or self.deviceid is None:
            raise ParameterError("Send id, or virtualmachineid and deviceid")
        query = select(Volume).where(
            Volume.vm_id == self.virtualmachineid, Volume.device == self.deviceid, Volume.removed.is_(None)
        )
        row = call.session.scalar(query)
        if row is None:
            raise ParameterError(f"The VM has no volume at position {self.deviceid}")
        return row


class DeleteVolume(SyncCommand, kw_only=True, frozen=True):
    """Deletes a detached data volume for good."""

    spec = Spec(access=EVERYONE, event="VOLUME.DELETE")

    id: Annotated[str, Ref(Volume)]

    def run(self, call: Call) -> Response:
        """It is gone for users now; its file goes in a job."""
        row = call.row(Volume, self.id)
        if row.vm_id is not None:
            raise InUse(f"Volume {row.name} is attached to a VM; detach it first")
        row.state = VolumeState.destroy
        call.submit(names.DELETE_VOLUME, {"volume_id": row.id}, kind="Volume", about=row)
        return DONE


def check_attachable(vm: Vm) -> None:
    """Raise `ParameterError` unless disks can be attached to the VM now."""
    if vm.state not in (VmState.running, VmState.stopped):
        raise ParameterError(f"VM {vm.name} is {vm.state}; disks are attached to Running or Stopped VMs")


def _system_vms() -> Any:
    return select(Vm.id).where(Vm.kind.in_([kind for kind in VmKind if kind is not VmKind.user]))
