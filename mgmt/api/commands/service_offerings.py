"""Service offerings."""

from typing import Annotated, Any

from msgspec import Meta
from sqlalchemy import Select, select

from mgmt.api.absent import OfferingDetails, Planner, SnapshotReserve, SortKey
from mgmt.api.access import EVERYONE, ROOT, Ref
from mgmt.api.call import Call
from mgmt.api.commands.hosts import read_tags
from mgmt.api.lists import AllAre, Equals, ListCommand
from mgmt.api.offering_domains import DOMAIN_WORDS, add_offering, for_domains
from mgmt.api.params import NoEffect, Unsupported, wrong_value
from mgmt.api.registry import DONE, Response, Spec, SyncCommand
from mgmt.api.responses.offerings import SERVICE_OFFERING
from mgmt.model.errors import ParameterError, PermissionDenied
from mgmt.model.pools import StorageType
from mgmt.store.tables import Domain, ServiceOffering, Template, Vm, Zone

GIB = 1024**3
FOR_ALL = NoEffect("offerings are for all zones, and all that one may use are listed")
FOR_ALL_NEW = Unsupported("offerings are for all zones")
NO_RATES = Unsupported("disks are not throttled")
NO_CACHE = Unsupported("disks are written without the host's cache")
THIN = "thin, the only one: disks take what was written"
SYSTEM_TYPES = ("domainrouter", "consoleproxy", "secondarystoragevm")
LEAST_MEMORY = 32
CPUS = Meta(ge=1, le=256)
MEMORY = Meta(ge=LEAST_MEMORY, le=2**22)
STATES = ("Active", "Inactive")


class ListServiceOfferings(ListCommand, kw_only=True, frozen=True):
    """Lists service offerings."""

    spec = Spec(answer=SERVICE_OFFERING, access=EVERYONE)
    searched = (ServiceOffering.name, ServiceOffering.display_text)

    name: Annotated[str | None, Equals(ServiceOffering.name)] = None
    issystem: Annotated[bool, "true for the offerings of system VMs; administrators only"] = False
    systemvmtype: Annotated[str | None, "the kind of system VM", Equals(ServiceOffering.system_vm_type)] = (
        None
    )
    cpunumber: Annotated[int | None, "the number of vCPUs", Equals(ServiceOffering.cpus)] = None
    cpuspeed: Annotated[int | None, "the speed of a vCPU in MHz", Equals(ServiceOffering.cpu_speed)] = None
    memory: Annotated[int | None, "the memory in MB", Equals(ServiceOffering.memory)] = None
    state: Annotated[str | None, "Active, the default; Inactive, or all"] = None
    templateid: Annotated[
        str | None, Ref(Template, use=True), NoEffect("every template runs with every offering")
    ] = None
    gpuenabled: Annotated[bool | None, "true for those with a GPU: none", AllAre(False)] = None
    vgpuprofileid: Annotated[str | None, "those with this profile of a GPU: none", AllAre(None)] = None
    encryptroot: Annotated[bool | None, "true for encrypted disks: none", AllAre(False)] = None
    storagetype: Annotated[str | None, "local or shared", Equals(ServiceOffering.storage_type)] = None
    virtualmachineid: Annotated[str | None, Ref(Vm), "only those this VM could change to"] = None
    zoneid: Annotated[str | None, Ref(Zone, use=True), FOR_ALL] = None
    domainid: Annotated[str | None, Ref(Domain, use=True), "list only those for this domain"] = None
    listall: Annotated[bool, FOR_ALL] = False
    isrecursive: Annotated[bool, FOR_ALL] = False
    projectid: Annotated[str | None, FOR_ALL] = None

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """System VMs' offerings only when asked for by an administrator."""
        if self.issystem and not call.caller.is_root:
            raise PermissionDenied("Offerings of system VMs are for administrators; leave issystem away")
        query = for_domains(call, query, ServiceOffering.id, self.domainid)
        query = in_state(query, ServiceOffering.state, self.state, by_id=bool(self.id or self.ids))
        if self.virtualmachineid is not None:
            vm = call.row(Vm, self.virtualmachineid)
            query = query.where(ServiceOffering.id != vm.offering_id)
        if self.issystem or self.systemvmtype:
            return query.where(ServiceOffering.system_vm_type.is_not(None))
        if self.id is not None and call.caller.is_root:
            return query
        return query.where(ServiceOffering.system_vm_type.is_(None))


class OfferedDisk(SyncCommand, kw_only=True, frozen=True):
    """Parameters of the commands that create offerings which say how disks are."""

    zoneid: Annotated[list[str] | None, FOR_ALL_NEW] = None
    bytesreadrate: Annotated[int | None, NO_RATES] = None
    byteswriterate: Annotated[int | None, NO_RATES] = None
    iopsreadrate: Annotated[int | None, NO_RATES] = None
    iopswriterate: Annotated[int | None, NO_RATES] = None
    miniops: Annotated[int | None, NO_RATES] = None
    maxiops: Annotated[int | None, NO_RATES] = None
    customizediops: Annotated[bool, NO_RATES] = False
    cachemode: Annotated[str | None, NO_CACHE] = None


class CreateServiceOffering(OfferedDisk, kw_only=True, frozen=True):
    """Creates a service offering."""

    spec = Spec(answer=SERVICE_OFFERING, access=ROOT, event="SERVICE.OFFERING.CREATE")

    name: str
    cpunumber: Annotated[int | None, CPUS, "the number of vCPUs; of a custom offering the least"] = None
    memory: Annotated[int | None, MEMORY, "the memory in MB; of a custom offering the least"] = None
    displaytext: str | None = None
    cpuspeed: Annotated[int, Meta(ge=100, le=10000), "the speed of a vCPU in MHz"] = 500
    customized: Annotated[bool, "true: the user says how many vCPUs and how much memory"] = False
    mincpunumber: Annotated[int | None, CPUS, "the least vCPUs of a custom offering"] = None
    maxcpunumber: Annotated[int | None, CPUS, "the most vCPUs of a custom offering"] = None
    minmemory: Annotated[int | None, MEMORY, "the least memory of a custom offering, in MB"] = None
    maxmemory: Annotated[int | None, MEMORY, "the most memory of a custom offering, in MB"] = None
    hosttags: Annotated[list[str] | None, "tags that a host must have to take its VMs"] = None
    tags: Annotated[list[str] | None, "tags that the root disk's pool must have"] = None
    rootdisksize: Annotated[int | None, Meta(ge=1, le=65536), "the size of the root disk in GB"] = None
    storagetype: Annotated[str, "local (the default) or shared: which storage pools its disks go to"] = (
        StorageType.local
    )
    issystem: Annotated[bool, "true for system VMs"] = False
    systemvmtype: Annotated[str | None, "domainrouter, consoleproxy or secondarystoragevm"] = None
    domainid: Annotated[list[str] | None, Ref(Domain), DOMAIN_WORDS] = None
    provisioningtype: Annotated[str, THIN] = "thin"
    dynamicscalingenabled: Annotated[bool, NoEffect("VMs change their size while they are stopped")] = False
    offerha: Annotated[bool, Unsupported("no other host takes a VM over")] = False
    limitcpuuse: Annotated[bool, Unsupported("VMs share what their host's CPUs have left")] = False
    isvolatile: Annotated[bool, Unsupported("root disks last; restoreVirtualMachine makes them anew")] = False
    deploymentplanner: Planner = None
    networkrate: Annotated[int | None, Unsupported("NICs are not throttled")] = None
    encryptroot: Annotated[bool, Unsupported("disks are not encrypted")] = False
    diskofferingid: Annotated[str | None, Unsupported("rootdisksize is the root disk's size")] = None
    hypervisorsnapshotreserve: SnapshotReserve = None
    serviceofferingdetails: OfferingDetails = None

    def run(self, call: Call) -> ServiceOffering:
        """Check and insert."""
        check_thin(self.provisioningtype)
        if self.storagetype not in set(StorageType):
            raise wrong_value("storagetype", self.storagetype, "local or shared")
        if self.issystem and self.systemvmtype not in SYSTEM_TYPES:
            raise wrong_value("systemvmtype", self.systemvmtype, f"one of {', '.join(SYSTEM_TYPES)}")
        if self.systemvmtype and not self.issystem:
            raise ParameterError("systemvmtype is for offerings of system VMs; set issystem=true")
        if self.issystem and self.storagetype != StorageType.local:
            raise wrong_value("storagetype", self.storagetype, "local: system VMs are made anew elsewhere")
        if self.customized and self.issystem:
            raise ParameterError("Offerings of system VMs have a fixed size; leave customized away")
        offering = ServiceOffering(
            name=self.name,
            display_text=self.displaytext or self.name,
            cpus=self._size("cpunumber", self.cpunumber, self.mincpunumber, self.maxcpunumber, 1),
            cpu_speed=self.cpuspeed,
            memory=self._size("memory", self.memory, self.minmemory, self.maxmemory, LEAST_MEMORY),
            customized=self.customized,
            max_cpus=self.maxcpunumber,
            max_memory=self.maxmemory,
            host_tags=read_tags("hosttags", self.hosttags or []),
            storage_tags=read_tags("tags", self.tags or []),
            root_disk_bytes=(self.rootdisksize or 0) * GIB,
            storage_type=self.storagetype,
            system_vm_type=self.systemvmtype,
        )
        return add_offering(call.session, offering, self.domainid)

    def _size(self, name: str, fixed: int | None, least: int | None, most: int | None, default: int) -> int:
        """A fixed size, or the least one of a custom offering. Raises `ParameterError`."""
        if not self.customized:
            if fixed is None:
                raise ParameterError(f"Send {name}, or customized=true to leave it to the user")
            if least is not None or most is not None:
                raise ParameterError(
                    f"min{name} and max{name} are for custom offerings: send customized=true"
                )
            return fixed
        lowest = least or fixed or default
        if most is not None and most < lowest:
            raise wrong_value(f"max{name}", most, f"at least {lowest}")
        return lowest


class UpdateServiceOffering(SyncCommand, kw_only=True, frozen=True):
    """Updates a service offering's words, host tags and state; sizes never change under VMs."""

    spec = Spec(answer=SERVICE_OFFERING, access=ROOT, event="SERVICE.OFFERING.EDIT")

    id: Annotated[str, Ref(ServiceOffering)]
    name: str | None = None
    displaytext: str | None = None
    hosttags: Annotated[list[str] | None, "tags that a host must have to take its VMs"] = None
    storagetags: Annotated[list[str] | None, "tags that the root disk's pool must have"] = None
    state: Annotated[str | None, "Active, or Inactive: no new VM may have it"] = None
    sortkey: SortKey = None

    def run(self, call: Call) -> ServiceOffering:
        """Change what was sent."""
        offering = call.row(ServiceOffering, self.id)
        offering.name = self.name or offering.name
        offering.display_text = self.displaytext or offering.display_text
        offering.state = offering_state(self.state) or offering.state
        if self.hosttags is not None:
            offering.host_tags = read_tags("hosttags", self.hosttags)
        if self.storagetags is not None:
            offering.storage_tags = read_tags("storagetags", self.storagetags)
        return offering


class DeleteServiceOffering(SyncCommand, kw_only=True, frozen=True):
    """Deletes a service offering; VMs that have it keep it."""

    spec = Spec(access=ROOT, event="SERVICE.OFFERING.DELETE")

    id: Annotated[str, Ref(ServiceOffering)]

    def run(self, call: Call) -> Response:
        """The last offering of a kind of system VM stays: without it none could start."""
        offering = call.row(ServiceOffering, self.id)
        others = select(ServiceOffering.id).where(
            ServiceOffering.system_vm_type == offering.system_vm_type,
            ServiceOffering.id != offering.id,
            ServiceOffering.removed.is_(None),
        )
        if offering.system_vm_type and not call.session.scalar(others.limit(1)):
            text = f"{offering.name} is the only offering for {offering.system_vm_type}; create another first"
            raise ParameterError(text)
        offering.removed = call.now()
        offering.state = "Inactive"
        return DONE


def check_thin(provisioning: str) -> None:
    """Raise `ParameterError` for a disk that would be filled at once."""
    if provisioning.lower() != "thin":
        raise wrong_value("provisioningtype", provisioning, THIN)


def in_state(query: Select[Any], column: Any, state: str | None, *, by_id: bool) -> Select[Any]:
    """Offerings in a state: those that may be chosen if none is named; any by id, or with `all`."""
    if (state or "").lower() == "all" or (by_id and not state):
        return query
    return query.where(column == (offering_state(state or None) or STATES[0]))


def offering_state(text: str | None) -> str | None:
    """A state as it is stored. Raises `ParameterError`."""
    if text is None:
        return None
    if text.capitalize() not in STATES:
        raise wrong_value("state", text, " or ".join(STATES))
    return text.capitalize()
