"""Disk offerings."""

from typing import Annotated, Any

from msgspec import Meta
from sqlalchemy import Select

from mgmt.api.absent import OfferingDetails, Shown, SnapshotReserve, SortKey
from mgmt.api.access import EVERYONE, ROOT, Ref
from mgmt.api.call import Call
from mgmt.api.commands.hosts import read_tags
from mgmt.api.commands.service_offerings import (
    FOR_ALL,
    THIN,
    OfferedDisk,
    check_thin,
    in_state,
    offering_state,
)
from mgmt.api.lists import AllAre, Equals, ListCommand
from mgmt.api.offering_domains import DOMAIN_WORDS, add_offering, for_domains
from mgmt.api.params import NoEffect, Unsupported, wrong_value
from mgmt.api.registry import DONE, Response, Spec, SyncCommand
from mgmt.api.responses.offerings import DISK_OFFERING
from mgmt.model.errors import ParameterError
from mgmt.model.pools import StorageType
from mgmt.store.tables import DiskOffering, Domain, Zone

GIB = 1024**3


class ListDiskOfferings(ListCommand, kw_only=True, frozen=True):
    """Lists disk offerings."""

    spec = Spec(answer=DISK_OFFERING, access=EVERYONE)
    searched = (DiskOffering.name, DiskOffering.display_text)

    name: Annotated[str | None, Equals(DiskOffering.name)] = None
    state: Annotated[str | None, "Active, the default; Inactive, or all"] = None
    volumeid: Annotated[str | None, Unsupported("compare the tags of offerings and pools")] = None
    storageid: Annotated[str | None, Unsupported("compare the tags of offerings and pools")] = None
    encrypt: Annotated[bool | None, "true for encrypted disks: none", AllAre(False)] = None
    storagetype: Annotated[str | None, "local or shared", Equals(DiskOffering.storage_type)] = None
    zoneid: Annotated[str | None, Ref(Zone, use=True), FOR_ALL] = None
    domainid: Annotated[str | None, Ref(Domain, use=True), "list only those for this domain"] = None
    listall: Annotated[bool, FOR_ALL] = False
    isrecursive: Annotated[bool, FOR_ALL] = False

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """Those that the caller, and the domain that was named, may use."""
        query = in_state(query, DiskOffering.state, self.state, by_id=bool(self.id or self.ids))
        return for_domains(call, query, DiskOffering.id, self.domainid)


class CreateDiskOffering(OfferedDisk, kw_only=True, frozen=True):
    """Creates a disk offering."""

    spec = Spec(answer=DISK_OFFERING, access=ROOT, event="DISK.OFFERING.CREATE")

    name: str
    displaytext: str | None = None
    disksize: Annotated[int | None, Meta(ge=1, le=65536), "the size of the disk in GB"] = None
    customized: Annotated[bool, "true if the user says the size"] = False
    storagetype: Annotated[str, "local (the default) or shared: which storage pools its disks go to"] = (
        StorageType.local
    )
    domainid: Annotated[list[str] | None, Ref(Domain), DOMAIN_WORDS] = None
    tags: Annotated[list[str] | None, "tags that a volume's pool must have"] = None
    provisioningtype: Annotated[str, THIN] = "thin"
    displayoffering: Annotated[bool, NoEffect("all offerings are shown")] = True
    disksizestrictness: Annotated[bool, NoEffect("a volume's size changes by resizeVolume alone")] = False
    encrypt: Annotated[bool, Unsupported("disks are not encrypted")] = False
    hypervisorsnapshotreserve: SnapshotReserve = None
    diskofferingdetails: OfferingDetails = None
    details: OfferingDetails = None

    def run(self, call: Call) -> DiskOffering:
        """Check and insert."""
        check_thin(self.provisioningtype)
        if self.storagetype not in set(StorageType):
            raise wrong_value("storagetype", self.storagetype, "local or shared")
        if self.customized == (self.disksize is not None):
            raise ParameterError("Give either disksize, or customized=true and no disksize")
        offering = DiskOffering(
            name=self.name,
            display_text=self.displaytext or self.name,
            disk_bytes=(self.disksize or 0) * GIB,
            customized=self.customized,
            storage_type=self.storagetype,
            tags=read_tags("tags", self.tags or []),
        )
        return add_offering(call.session, offering, self.domainid)


class UpdateDiskOffering(SyncCommand, kw_only=True, frozen=True):
    """Updates a disk offering's words and state."""

    spec = Spec(answer=DISK_OFFERING, access=ROOT, event="DISK.OFFERING.EDIT")

    id: Annotated[str, Ref(DiskOffering)]
    name: str | None = None
    displaytext: str | None = None
    tags: Annotated[list[str] | None, "tags that a volume's pool must have"] = None
    state: Annotated[str | None, "Active, or Inactive: no new volume may have it"] = None
    displayoffering: Shown = None
    sortkey: SortKey = None

    def run(self, call: Call) -> DiskOffering:
        """Change what was sent."""
        offering = call.row(DiskOffering, self.id)
        offering.name = self.name or offering.name
        offering.display_text = self.displaytext or offering.display_text
        offering.state = offering_state(self.state) or offering.state
        if self.tags is not None:
            offering.tags = read_tags("tags", self.tags)
        return offering


class DeleteDiskOffering(SyncCommand, kw_only=True, frozen=True):
    """Deletes a disk offering; volumes that have it keep it."""

    spec = Spec(access=ROOT, event="DISK.OFFERING.DELETE")

    id: Annotated[str, Ref(DiskOffering)]

    def run(self, call: Call) -> Response:
        """Remove it from the lists."""
        offering = call.row(DiskOffering, self.id)
        offering.removed = call.now()
        offering.state = "Inactive"
        return DONE
