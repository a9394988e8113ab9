"""VMs and volumes to other hosts: where they could go, and that they go."""

from collections.abc import Sequence
from typing import Annotated

from sqlalchemy import select

from mgmt.alloc.hosts import candidates, place
from mgmt.alloc.pools import is_reached_from
from mgmt.api.access import ROOT, InnerRef, Ref
from mgmt.api.call import Call
from mgmt.api.lists import PlainListCommand
from mgmt.api.params import wrong_value
from mgmt.api.registry import AsyncCommand, Response, Spec
from mgmt.api.responses.hosts import (
    CandidatePoolResponse,
    CandidateResponse,
    candidate_pool_responses,
    candidate_responses,
)
from mgmt.api.responses.virtual_machines import VIRTUAL_MACHINE
from mgmt.api.responses.volumes import VOLUME
from mgmt.api.user_vms import KIND, must_be, user_vm
from mgmt.model.errors import InUse, ParameterError
from mgmt.model.states import VmKind, VmState, VolumeState
from mgmt.ops import names
from mgmt.ops.compute.migration import moving
from mgmt.ops.compute.placement import demand_of, tied_to
from mgmt.ops.compute.vm_snapshots import refuse_with_snapshots
from mgmt.ops.storage.move_checks import other_pools, refuse_apart, refuse_move
from mgmt.store.tables import Host, Job, StoragePool, Vm, Volume


class FindHostsForMigration(PlainListCommand, kw_only=True, frozen=True):
    """Finds the hosts that a running virtual machine might move to, and says which would take it."""

    spec = Spec(answer=CandidateResponse, access=ROOT, key="host")

    virtualmachineid: Annotated[str, Ref(Vm)]
    keyword: str | None = None

    def items(self, call: Call) -> Sequence[Response]:
        """The other hosts of its zone; its disks must move too where they are on its host."""
        vm = user_vm(call, self.virtualmachineid, "virtualmachineid")
        must_be(vm, "moved to another host", VmState.running)
        source = call.session.get_one(Host, vm.host_id)
        found = candidates(call.session, moving(call.session, vm, demand_of(call.session, vm), source))
        wanted = (self.keyword or "").lower()
        found = [(host, is_fit) for host, is_fit in found if wanted in host.name.lower()]
        return candidate_responses(call, found, moves_disks=tied_to(call.session, vm) is not None)


class MigrateVirtualMachine(AsyncCommand, kw_only=True, frozen=True):
    """Moves a running virtual machine to another host, or a stopped one's disks to another storage pool.

    Disks that only its host can reach move along. Under KVM the guest runs on meanwhile; where processors are
    emulated it stands still for some seconds.
    """

    spec = Spec(answer=VIRTUAL_MACHINE, access=ROOT, event="VM.MIGRATE")

    virtualmachineid: Annotated[str, Ref(Vm)]
    hostid: Annotated[str | None, Ref(Host), "the host to move a running one to"] = None
    storageid: Annotated[str | None, Ref(StoragePool), "the storage pool for a stopped one's disks"] = None
    autoselect: Annotated[bool, "false: do not choose a host where none is named"] = True

    def run(self, call: Call) -> Job:
        """Check what can be checked before hosts are asked."""
        if self.hostid and self.storageid:
            raise ParameterError("Send hostid for a running VM, or storageid for a stopped one; not both")
        vm = user_vm(call, self.virtualmachineid, "virtualmachineid")
        if self.storageid:
            return self._move_disks(call, vm, call.row(StoragePool, self.storageid))
        if not self.hostid and not self.autoselect:
            raise ParameterError("Send hostid, or autoselect=true to have a host chosen")
        return _migrate(call, vm, self.hostid, {})

    def _move_disks(self, call: Call, vm: Vm, pool: StoragePool) -> Job:
        must_be(vm, "moved to another storage pool", VmState.stopped)
        volumes = _volumes_of(call, vm)
        if not volumes:
            raise ParameterError(f"VM {vm.name} has no disks yet, so there is nothing to move")
        return _move(call, [(volume, pool) for volume in volumes], vm, KIND, vm)


class MigrateVirtualMachineWithVolume(AsyncCommand, kw_only=True, frozen=True):
    """Moves a running virtual machine with its volumes to another host, each into a chosen pool there.

    Without a host, the volumes of a stopped one go to the pools that are named for all of them, and those of
    a running one to the pools named for some, if its host reaches these.
    """

    spec = Spec(answer=VIRTUAL_MACHINE, access=ROOT, event="VM.MIGRATE")

    virtualmachineid: Annotated[str, Ref(Vm)]
    hostid: Annotated[str | None, Ref(Host), "the host to move it to"] = None
    migrateto: Annotated[
        list[dict[str, str]] | None,
        InnerRef("volume", Volume),
        InnerRef("pool", StoragePool),
        "volume and pool: where its volumes go; chosen where not named",
    ] = None
    autoselect: Annotated[bool, "true: have a host chosen where none is named"] = False

    def run(self, call: Call) -> Job:
        """The pools must be on the host; without a host they name it."""
        vm = user_vm(call, self.virtualmachineid, "virtualmachineid")
        pools, hosts = {}, {self.hostid}
        for item in self.migrateto or []:
            if not {"volume", "pool"} <= item.keys():
                raise ParameterError("Every item of migrateto needs volume and pool")
            volume, pool = call.row(Volume, item["volume"]), call.row(StoragePool, item["pool"])
            if volume.vm_id != vm.id:
                raise wrong_value("migrateto.volume", volume.name, f"a volume of VM {vm.name}")
            pools[volume.id] = pool.id
            hosts.add(pool.host_id)
        hosts.discard(None)
        if len(hosts) > 1:
            raise ParameterError("migrateto names pools of other hosts than the VM would go to")
        if vm.state == VmState.stopped and self.hostid is None and pools:
            return self._move_stopped(call, vm, pools)
        if vm.state == VmState.running and pools and self._stays(call, vm, pools):
            return self._move_running(call, vm, pools)
        self._refuse_shared(call, pools)
        host_id = next(iter(hosts), None)
        if host_id is None and not self.autoselect:
            raise ParameterError("Send hostid, migrateto, or autoselect=true to have a host chosen")
        return _migrate(call, vm, host_id, pools)

    def _stays(self, call: Call, vm: Vm, pools: dict[str, str]) -> bool:
        """Whether no other host is named, and the VM's own reaches all pools that are."""
        reached = select(StoragePool.id).where(
            StoragePool.id.in_(pools.values()), is_reached_from(vm.host_id)
        )
        is_home = self.hostid == vm.host_id or (self.hostid is None and not self.autoselect)
        return is_home and set(call.session.scalars(reached)) == set(pools.values())

    def _move_running(self, call: Call, vm: Vm, pools: dict[str, str]) -> Job:
        moves = [
            (call.session.get_one(Volume, volume_id), call.session.get_one(StoragePool, pool_id))
            for volume_id, pool_id in pools.items()
        ]
        return _move(call, moves, vm, KIND, vm)

    def _refuse_shared(self, call: Call, pools: dict[str, str]) -> None:
        """Only disks of a host's own pool are copied while their VM runs, and into such a pool."""
        for volume_id, pool_id in pools.items():
            here_id = call.session.get_one(Volume, volume_id).pool_id
            if here_id is None:
                continue  # it has no file yet
            here, there = (call.session.get_one(StoragePool, key) for key in (here_id, pool_id))
            if here.id != there.id and None in (here.host_id, there.host_id):
                words = f"no pool that hosts share, and the volume in none: {here.name} to {there.name} needs"
                raise wrong_value("migrateto.pool", there.name, f"{words} a stopped VM")

    def _move_stopped(self, call: Call, vm: Vm, pools: dict[str, str]) -> Job:
        volumes = _volumes_of(call, vm)
        if left := [volume.name for volume in volumes if volume.id not in pools]:
            words = f"migrateto names no pool for {', '.join(left)} of VM {vm.name}"
            raise ParameterError(f"{words}: its volumes stay together on one host")
        moves = [(volume, call.session.get_one(StoragePool, pools[volume.id])) for volume in volumes]
        return _move(call, moves, vm, KIND, vm)


class FindStoragePoolsForMigration(PlainListCommand, kw_only=True, frozen=True):
    """Finds the storage pools that a volume might move to, and says which would take it."""

    spec = Spec(answer=CandidatePoolResponse, access=ROOT, key="storagepool")

    id: Annotated[str, "the ID of the volume", Ref(Volume)]
    keyword: str | None = None

    def items(self, call: Call) -> Sequence[Response]:
        """The other pools of its zone."""
        volume = call.row(Volume, self.id)
        wanted = (self.keyword or "").lower()
        found = [(pool, not words) for pool, words in other_pools(call.session, volume)]
        return candidate_pool_responses(call, [item for item in found if wanted in item[0].name.lower()])


class MigrateVolume(AsyncCommand, kw_only=True, frozen=True):
    """Moves a volume to another storage pool, of a host or shared; with livemigrate also while its VM runs.

    The guest goes on meanwhile. A running VM's volume goes to pools that its host reaches.
    """

    spec = Spec(answer=VOLUME, access=ROOT, event="VOLUME.MIGRATE")

    volumeid: Annotated[str, "the ID of the volume", Ref(Volume)]
    storageid: Annotated[str, "the storage pool to move it to", Ref(StoragePool)]
    livemigrate: Annotated[bool, "true: also while a VM runs with it"] = False

    def run(self, call: Call) -> Job:
        """Disks of one VM stay together: one host must reach them all in the end."""
        volume, pool = call.row(Volume, self.volumeid), call.row(StoragePool, self.storageid)
        if volume.vm_id is None:
            return _move(call, [(volume, pool)], None, "Volume", volume)
        vm = call.session.get_one(Vm, volume.vm_id)
        if vm.kind != VmKind.user:
            raise wrong_value("volumeid", volume.name, "a volume that is not a system VM's")
        if vm.state not in (VmState.running, VmState.stopped):
            raise InUse(
                f"Volume {volume.name} is attached to VM {vm.name}, which is {vm.state}: try again later"
            )
        if vm.state == VmState.running and not self.livemigrate:
            raise ParameterError(
                f"Volume {volume.name} is attached to VM {vm.name}, which is Running: send livemigrate=true"
                " to move it meanwhile, or stop the VM"
            )
        return _move(call, [(volume, pool)], vm, "Volume", volume)


def _migrate(call: Call, vm: Vm, host_id: str | None, pools: dict[str, str]) -> Job:
    must_be(vm, "moved to another host", VmState.running)
    source = call.session.get_one(Host, vm.host_id)
    if host_id == source.id:
        raise ParameterError(f"VM {vm.name} is on host {source.name} already: choose another host")
    if tied_to(call.session, vm) is not None:
        refuse_with_snapshots(call.session, vm, "its disks cannot move to another host")
    place(call.session, moving(call.session, vm, demand_of(call.session, vm, host_id), source))
    arguments = {"vm_id": vm.id, "host_id": host_id, "pools": pools}
    return call.submit(names.MIGRATE_VM, arguments, kind=KIND, about=vm)


def _move(
    call: Call, moves: list[tuple[Volume, StoragePool]], vm: Vm | None, kind: str, about: Vm | Volume
) -> Job:
    if vm is not None:
        refuse_with_snapshots(call.session, vm, "its disks cannot move")
    for volume, pool in moves:
        if volume.state == VolumeState.migrating:
            raise InUse(f"Volume {volume.name} is Migrating: wait for its end")
        refuse_move(call.session, volume, pool)
    pools = {volume.id: pool.id for volume, pool in moves}
    if vm is not None and vm.state == VmState.stopped:
        refuse_apart(call.session, vm, pools)
    workflow = names.MOVE_VOLUMES if vm is None or vm.state == VmState.stopped else names.MOVE_RUNNING_VOLUMES
    arguments = {"pools": pools, "vm_id": vm.id if vm else None}
    return call.submit(workflow, arguments, kind=kind, about=about, lock=vm.id if vm else "")


def _volumes_of(call: Call, vm: Vm) -> list[Volume]:
    """Those that have a file."""
    query = select(Volume).where(
        Volume.vm_id == vm.id, Volume.removed.is_(None), Volume.state != VolumeState.allocated
    )
    return list(call.session.scalars(query.order_by(Volume.device)))
