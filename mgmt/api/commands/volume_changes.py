"""What a volume is, changed: its name, its size, its offering."""

from typing import Annotated

from msgspec import Meta

from mgmt.alloc.limits import require
from mgmt.alloc.pools import Wish, require_tags
from mgmt.api.absent import CustomId, Rate, Shown
from mgmt.api.access import EVERYONE, Ref
from mgmt.api.call import Call
from mgmt.api.commands.volumes import GIB, LARGEST_GIB, check_attachable
from mgmt.api.params import NoEffect, Unsupported, unknown_entity, wrong_value
from mgmt.api.registry import AsyncCommand, Spec
from mgmt.api.responses.volumes import VOLUME
from mgmt.model.errors import ParameterError
from mgmt.model.resources import ResourceType
from mgmt.model.states import VmKind, VolumeKind, VolumeState
from mgmt.ops import names
from mgmt.ops.compute.vm_snapshots import refuse_with_snapshots
from mgmt.store.tables import Account, DiskOffering, Job, StoragePool, Vm, Volume


class ResizeVolume(AsyncCommand, kw_only=True, frozen=True):
    """Grows a volume, attached or not; running VMs see it at once, and their owners grow what is in it."""

    spec = Spec(answer=VOLUME, access=EVERYONE, event="VOLUME.RESIZE")

    id: Annotated[str, Ref(Volume)]
    size: Annotated[int | None, "GiB", Meta(ge=1, le=LARGEST_GIB)] = None
    diskofferingid: Annotated[
        str | None, Ref(DiskOffering, use=True), "another offering, for data volumes; it says the size"
    ] = None
    shrinkok: Annotated[bool, NoEffect("volumes never shrink all the same")] = False
    miniops: Rate = None
    maxiops: Rate = None

    def run(self, call: Call) -> Job:
        """Check what can be checked before hosts are asked."""
        row, vm = _user_volume(call, self.id)
        if vm is not None:
            check_attachable(vm)
            refuse_with_snapshots(call.session, vm, f"volume {row.name} cannot be resized")
        if row.state not in (VolumeState.allocated, VolumeState.ready):
            raise ParameterError(f"Volume {row.name} is {row.state}; only Allocated and Ready ones grow")
        offering = call.row_or_none(DiskOffering, self.diskofferingid)
        size = self._bytes(call, row, offering)
        pool = call.session.get(StoragePool, row.pool_id) if row.pool_id else None
        if offering is not None and pool is not None:
            require_tags(pool, Wish(tags=tuple(offering.tags)))
        if size < row.size:
            raise ParameterError(
                f"Volume {row.name} has {row.size / GIB:g} GiB and cannot shrink to {size / GIB:g}: what lies"
                " behind would be lost; make a smaller volume and copy"
            )
        if size == row.size and offering is None:
            raise ParameterError(f"Volume {row.name} has {size / GIB:g} GiB already; send a larger size")
        owner = call.session.get_one(Account, row.account_id)
        require(call.session, owner, {ResourceType.primary_storage: size - row.size})
        arguments = {"volume_id": row.id, "size": size, "offering_id": offering.id if offering else None}
        return call.submit(names.RESIZE_VOLUME, arguments, kind="Volume", about=row)

    def _bytes(self, call: Call, row: Volume, wanted: DiskOffering | None) -> int:
        is_root = row.kind == VolumeKind.root
        if is_root and wanted is not None:
            raise ParameterError(f"Volume {row.name} is a root disk; send size without diskofferingid")
        old = call.session.get(DiskOffering, row.offering_id) if row.offering_id else None
        offering = wanted or old
        if offering is not None and not is_root and not offering.customized:
            if self.size is not None and self.size * GIB != offering.disk_bytes:
                words = f"nothing: {offering.name} fixes the size; send diskofferingid of another offering"
                raise wrong_value("size", str(self.size), words)
            return offering.disk_bytes
        if self.size is None:
            raise ParameterError(f"Send size in GiB: nothing else says how large {row.name} should be")
        return self.size * GIB


class UpdateVolume(AsyncCommand, kw_only=True, frozen=True):
    """Updates a volume's name."""

    spec = Spec(answer=VOLUME, access=EVERYONE, event="VOLUME.UPDATE")

    id: Annotated[str, Ref(Volume)]
    name: str | None = None
    customid: CustomId = None
    path: Annotated[str | None, Unsupported("a volume is where the cloud put it")] = None
    chaininfo: Annotated[str | None, Unsupported("a volume is where the cloud put it")] = None
    storageid: Annotated[str | None, Unsupported("a volume is where the cloud put it")] = None
    state: Annotated[str | None, Unsupported("a volume is where the cloud put it")] = None
    deleteprotection: Annotated[bool, Unsupported("a VM can be protected, a volume by itself not")] = False
    displayvolume: Shown = None

    def run(self, call: Call) -> Job:
        """Done at once."""
        row, _vm = _user_volume(call, self.id)
        row.name = self.name or row.name
        return call.finish(kind="Volume", about=row)


def _user_volume(call: Call, volume_id: str) -> tuple[Volume, Vm | None]:
    """The volume of an id and the VM that has it; volumes of system VMs are nobody's."""
    row = call.row(Volume, volume_id)
    vm = call.session.get(Vm, row.vm_id) if row.vm_id else None
    if vm is not None and vm.kind != VmKind.user:
        raise unknown_entity("id", volume_id)
    return row, vm
