"""Console proxies, storage VMs and routers: the operators' view of the machines behind the services."""

from typing import Annotated, Any

from sqlalchemy import Select

from mgmt.api.absent import FixedSize
from mgmt.api.access import EVERYONE, ROOT, Ref
from mgmt.api.call import Call
from mgmt.api.lists import AllAre, Equals, ListCommand, OwnedListCommand
from mgmt.api.params import unknown_entity, wrong_value
from mgmt.api.places import by_place
from mgmt.api.registry import AsyncCommand, Spec, SyncCommand
from mgmt.api.responses.system_vms import ROUTER, SYSTEM_VM
from mgmt.model.errors import InUse, ParameterError
from mgmt.model.states import SYSTEM_VM_TYPES, VmKind, VmState
from mgmt.ops import names
from mgmt.ops.machines.system_vm_moves import require_place
from mgmt.ops.storage.snapshots import kept_only_by
from mgmt.store.tables import Cluster, Host, Job, Network, Pod, ServiceOffering, StoragePool, Vm, Zone

SYSTEM_KINDS = tuple(SYSTEM_VM_TYPES)
NewOffering = Annotated[str, Ref(ServiceOffering), "an offering for system VMs of its kind"]
BY_TYPE = {word: kind for kind, word in SYSTEM_VM_TYPES.items()}


class ListSystemVms(ListCommand, kw_only=True, frozen=True):
    """Lists console proxies and storage VMs."""

    spec = Spec(answer=SYSTEM_VM, access=ROOT)
    searched = (Vm.name,)

    name: Annotated[str | None, Equals(Vm.name)] = None
    zoneid: Annotated[str | None, Ref(Zone), Equals(Vm.zone_id)] = None
    hostid: Annotated[str | None, Ref(Host), Equals(Vm.host_id)] = None
    state: Annotated[str | None, Equals(Vm.state)] = None
    systemvmtype: Annotated[str | None, "consoleproxy or secondarystoragevm"] = None
    podid: Annotated[str | None, Ref(Pod), "list only those in this pod"] = None
    storageid: Annotated[str | None, Ref(StoragePool), "list only those with a disk in this pool"] = None

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """System VMs only."""
        query = by_place(query, pod_id=self.podid, pool_id=self.storageid)
        if self.systemvmtype is None:
            return query.where(Vm.kind.in_(SYSTEM_KINDS))
        if self.systemvmtype not in BY_TYPE:
            raise wrong_value("systemvmtype", self.systemvmtype, " or ".join(BY_TYPE))
        return query.where(Vm.kind == BY_TYPE[self.systemvmtype])


class ListRouters(OwnedListCommand, kw_only=True, frozen=True):
    """Lists the routers of networks."""

    spec = Spec(answer=ROUTER, access=EVERYONE)
    searched = (Vm.name,)

    name: Annotated[str | None, Equals(Vm.name)] = None
    networkid: Annotated[str | None, Ref(Network), Equals(Vm.network_id)] = None
    zoneid: Annotated[str | None, Ref(Zone, use=True), Equals(Vm.zone_id)] = None
    hostid: Annotated[str | None, Ref(Host), Equals(Vm.host_id)] = None
    state: Annotated[str | None, Equals(Vm.state)] = None
    podid: Annotated[str | None, Ref(Pod), "list only those in this pod"] = None
    clusterid: Annotated[str | None, Ref(Cluster), "list only those in this cluster"] = None
    healthchecksfailed: Annotated[bool | None, "true for those that run and are not well"] = None
    version: Annotated[str | None, "the version of the image they are made from: 1", AllAre("1")] = None
    forvpc: Annotated[bool | None, "true for those of VPCs: there are none", AllAre(False)] = None
    vpcid: Annotated[str | None, "the router of this VPC: there are none", AllAre(None)] = None

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """Routers only."""
        query = by_place(query, pod_id=self.podid, cluster_id=self.clusterid)
        if self.healthchecksfailed is not None:
            has_failed = (Vm.state == VmState.running) & Vm.healthy.is_(False)
            query = query.where(has_failed if self.healthchecksfailed else ~has_failed)
        return query.where(Vm.kind == VmKind.router)


def system_vm(call: Call, vm_id: str) -> Vm:
    """The system VM of an id; a tenant's VM or a router is none."""
    return _of_kind(call, vm_id, SYSTEM_KINDS)


def router(call: Call, vm_id: str) -> Vm:
    """The router of an id."""
    return _of_kind(call, vm_id, (VmKind.router,))


def _of_kind(call: Call, vm_id: str, kinds: tuple[VmKind, ...], parameter: str = "id") -> Vm:
    row = call.row(Vm, vm_id)
    if row.kind not in kinds:
        raise unknown_entity(parameter, vm_id)
    return row


def _start(call: Call, row: Vm) -> Job:
    if row.state != VmState.stopped:
        raise ParameterError(f"{row.name} is {row.state}; only a Stopped one can be started")
    return call.submit(names.START_SYSTEM_VM, {"vm_id": row.id}, kind="SystemVm", about=row)


def _stop(call: Call, row: Vm, forced: bool) -> Job:
    if row.state != VmState.running and not forced:
        raise ParameterError(f"{row.name} is {row.state}; only a Running one can be stopped")
    return call.submit(names.STOP_SYSTEM_VM, {"vm_id": row.id, "forced": forced}, kind="SystemVm", about=row)


def _reboot(call: Call, row: Vm) -> Job:
    if row.state != VmState.running:
        raise ParameterError(f"{row.name} is {row.state}; only a Running one can be rebooted")
    return call.submit(names.REBOOT_SYSTEM_VM, {"vm_id": row.id}, kind="SystemVm", about=row)


class StartSystemVm(AsyncCommand, kw_only=True, frozen=True):
    """Starts a system VM."""

    spec = Spec(answer=SYSTEM_VM, access=ROOT, event="SSVM.START")
    id: Annotated[str, Ref(Vm)]

    def run(self, call: Call) -> Job:
        """Only a stopped one."""
        return _start(call, system_vm(call, self.id))


class StopSystemVm(AsyncCommand, kw_only=True, frozen=True):
    """Stops a system VM."""

    spec = Spec(answer=SYSTEM_VM, access=ROOT, event="SSVM.STOP")
    id: Annotated[str, Ref(Vm)]
    forced: Annotated[bool, "true: without asking it"] = False

    def run(self, call: Call) -> Job:
        """Only a running one, unless forced."""
        return _stop(call, system_vm(call, self.id), self.forced)


class RebootSystemVm(AsyncCommand, kw_only=True, frozen=True):
    """Reboots a system VM."""

    spec = Spec(answer=SYSTEM_VM, access=ROOT, event="SSVM.REBOOT")
    id: Annotated[str, Ref(Vm)]

    def run(self, call: Call) -> Job:
        """Only a running one."""
        return _reboot(call, system_vm(call, self.id))


def _change_offering(call: Call, row: Vm, offering_id: str) -> Vm:
    offering = call.row(ServiceOffering, offering_id)
    mine = call.session.get_one(ServiceOffering, row.offering_id)
    if row.state != VmState.stopped:
        raise ParameterError(f"{row.name} is {row.state}; only a Stopped one can get another size")
    if offering.system_vm_type != mine.system_vm_type or offering.state != "Active":
        raise wrong_value("serviceofferingid", offering.name, f"an active one for {mine.system_vm_type}")
    row.offering_id = offering.id
    return row


class ChangeServiceForSystemVm(SyncCommand, kw_only=True, frozen=True):
    """Gives a stopped system VM another service offering; one that takes its place has the default one."""

    spec = Spec(answer=SYSTEM_VM, access=ROOT, event="SSVM.UPGRADE")
    id: Annotated[str, Ref(Vm)]
    serviceofferingid: NewOffering
    details: FixedSize = None

    def run(self, call: Call) -> Vm:
        """It has the size from its next start."""
        return _change_offering(call, system_vm(call, self.id), self.serviceofferingid)


class ScaleSystemVm(AsyncCommand, kw_only=True, frozen=True):
    """Gives a stopped system VM another service offering, as changeServiceForSystemVm, by a job."""

    spec = Spec(answer=SYSTEM_VM, access=ROOT, event="SSVM.UPGRADE")
    id: Annotated[str, Ref(Vm)]
    serviceofferingid: NewOffering
    details: FixedSize = None

    def run(self, call: Call) -> Job:
        """There is nothing to do on hosts: it has the size from its next start."""
        row = _change_offering(call, system_vm(call, self.id), self.serviceofferingid)
        return call.finish(kind="SystemVm", about=row)


class ChangeServiceForRouter(SyncCommand, kw_only=True, frozen=True):
    """Gives a stopped router another service offering; one that takes its place has the default one."""

    spec = Spec(answer=ROUTER, access=ROOT, event="ROUTER.UPGRADE")
    id: Annotated[str, Ref(Vm)]
    serviceofferingid: NewOffering

    def run(self, call: Call) -> Vm:
        """It has the size from its next start."""
        return _change_offering(call, router(call, self.id), self.serviceofferingid)


class DestroySystemVm(AsyncCommand, kw_only=True, frozen=True):
    """Destroys a system VM; a new one takes its place."""

    spec = Spec(answer=SYSTEM_VM, access=ROOT, event="SSVM.DESTROY")
    id: Annotated[str, Ref(Vm)]

    def run(self, call: Call) -> Job:
        """In any state, unless it has what is nowhere else."""
        row = system_vm(call, self.id)
        if row.kind == VmKind.storage and (kept := kept_only_by(call.session, row.zone_id)):
            raise InUse(f"{row.name} keeps {kept}, which are nowhere else: reboot it, or delete them first")
        return call.submit(names.DESTROY_SYSTEM_VM, {"vm_id": row.id}, kind="SystemVm", about=row)


class MigrateSystemVm(AsyncCommand, kw_only=True, frozen=True):
    """Lets a system VM or a router work on another host: it boots there, and takes its data along."""

    spec = Spec(answer=SYSTEM_VM, access=ROOT, event="VM.MIGRATE")
    virtualmachineid: Annotated[str, Ref(Vm)]
    hostid: Annotated[str | None, Ref(Host), "the host to move it to"] = None
    storageid: Annotated[str | None, Ref(StoragePool), "a storage pool of the host to move it to"] = None
    autoselect: Annotated[bool, "false: do not choose a host where none is named"] = True

    def run(self, call: Call) -> Job:
        """Only a running one, to a host that takes it."""
        if self.hostid and self.storageid:
            raise ParameterError("Send hostid or storageid, which names a host, too; not both")
        if not self.hostid and not self.storageid and not self.autoselect:
            raise ParameterError("Send hostid or storageid, or autoselect=true to have a host chosen")
        row = _of_kind(call, self.virtualmachineid, (*SYSTEM_KINDS, VmKind.router), "virtualmachineid")
        if row.state != VmState.running:
            raise ParameterError(f"{row.name} is {row.state}; only a Running one can go to another host")
        pool = call.row(StoragePool, self.storageid) if self.storageid else None
        if pool is not None and pool.host_id is None:
            raise wrong_value("storageid", pool.name, "a storage pool of one host")
        host_id = pool.host_id if pool is not None else self.hostid
        require_place(call.session, row, host_id, self.storageid)
        arguments = {"vm_id": row.id, "host_id": host_id, "pool_id": self.storageid}
        return call.submit(names.MIGRATE_SYSTEM_VM, arguments, kind="SystemVm", about=row)


class StartRouter(AsyncCommand, kw_only=True, frozen=True):
    """Starts a router."""

    spec = Spec(answer=ROUTER, access=ROOT, event="ROUTER.START")
    id: Annotated[str, Ref(Vm)]

    def run(self, call: Call) -> Job:
        """Only a stopped one."""
        return _start(call, router(call, self.id))


class StopRouter(AsyncCommand, kw_only=True, frozen=True):
    """Stops a router; its network has no services until it is started."""

    spec = Spec(answer=ROUTER, access=ROOT, event="ROUTER.STOP")
    id: Annotated[str, Ref(Vm)]
    forced: Annotated[bool, "true: without asking it"] = False

    def run(self, call: Call) -> Job:
        """Only a running one, unless forced."""
        return _stop(call, router(call, self.id), self.forced)


class RebootRouter(AsyncCommand, kw_only=True, frozen=True):
    """Reboots a router."""

    spec = Spec(answer=ROUTER, access=ROOT, event="ROUTER.REBOOT")
    id: Annotated[str, Ref(Vm)]

    def run(self, call: Call) -> Job:
        """Only a running one."""
        return _reboot(call, router(call, self.id))


class DestroyRouter(AsyncCommand, kw_only=True, frozen=True):
    """Destroys a router; the network gets a new one with the same public address."""

    spec = Spec(answer=ROUTER, access=ROOT, event="ROUTER.DESTROY")
    id: Annotated[str, Ref(Vm)]

    def run(self, call: Call) -> Job:
        """In any state."""
        row = router(call, self.id)
        return call.submit(names.DESTROY_SYSTEM_VM, {"vm_id": row.id}, kind="SystemVm", about=row)
