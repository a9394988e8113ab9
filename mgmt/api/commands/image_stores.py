"""Secondary storage."""

from collections.abc import Sequence
from typing import Annotated

from sqlalchemy import select

from mgmt.api.access import ROOT, Ref
from mgmt.api.call import Call
from mgmt.api.commands.zones import refuse_if_used
from mgmt.api.lists import AllAre, Equals, ListCommand, PlainListCommand
from mgmt.api.params import wrong_value
from mgmt.api.registry import DONE, Response, Spec, SyncCommand
from mgmt.api.responses.hosts import IMAGE_STORE
from mgmt.model.errors import MissingParameter, ParameterError
from mgmt.store.tables import ImageStore, Template, Zone

PROVIDER = "Pileus"
PROVIDERS = {"primary": "DefaultPrimary", "image": PROVIDER}
"""The provider of primary storage is called as in CloudStack: clients send it unasked."""


class ListImageStores(ListCommand, kw_only=True, frozen=True):
    """Lists secondary storage."""

    spec = Spec(answer=IMAGE_STORE, access=ROOT)
    searched = (ImageStore.name,)

    name: Annotated[str | None, Equals(ImageStore.name)] = None
    zoneid: Annotated[str | None, Ref(Zone), Equals(ImageStore.zone_id)] = None
    provider: Annotated[str | None, "the provider of the store", Equals(ImageStore.provider)] = None
    protocol: Annotated[str | None, "how it is reached: disk, the only one", AllAre("disk")] = None
    readonly: Annotated[bool | None, "true for stores that take nothing more: none", AllAre(False)] = None


class StorageProviderResponse(Response):
    """A kind of storage that can be added."""

    name: str
    type: str


class ListStorageProviders(PlainListCommand, kw_only=True, frozen=True):
    """Lists the providers of primary or of secondary storage."""

    spec = Spec(answer=StorageProviderResponse, key="dataStoreProvider", access=ROOT)

    type: Annotated[str, "primary or image"]

    def items(self, call: Call) -> Sequence[Response]:
        """One of each."""
        if self.type.lower() not in PROVIDERS:
            raise wrong_value("type", self.type, " or ".join(PROVIDERS))
        return [StorageProviderResponse(name=PROVIDERS[self.type.lower()], type=self.type.upper())]


class AddImageStore(SyncCommand, kw_only=True, frozen=True):
    """Adds secondary storage: the data disk of the zone's storage VM."""

    spec = Spec(answer=IMAGE_STORE, access=ROOT, event="IMAGE.STORE.CREATE", wakes=True)

    provider: Annotated[str, "Pileus: the storage VM's own data disk"]
    zoneid: Annotated[str | None, Ref(Zone)] = None
    name: str | None = None
    url: Annotated[str | None, "not needed for this provider"] = None

    def run(self, call: Call) -> ImageStore:
        """One per zone: check and insert."""
        if self.provider != PROVIDER:
            raise wrong_value("provider", self.provider, f"{PROVIDER}, the only provider supported")
        if self.zoneid is None:
            text = "Unable to execute API command addimagestore due to missing parameter zoneid"
            raise MissingParameter(text)
        zone = call.row(Zone, self.zoneid)
        taken = select(ImageStore.name).where(ImageStore.zone_id == zone.id, ImageStore.removed.is_(None))
        existing = call.session.scalar(taken)
        if existing is not None:
            raise ParameterError(f"Zone {zone.name} already has image store {existing}; a zone has one")
        row = ImageStore(zone_id=zone.id, name=self.name or f"{zone.name}-secondary", url=self.url or "")
        call.session.add(row)
        return row


class DeleteImageStore(SyncCommand, kw_only=True, frozen=True):
    """Deletes secondary storage of a zone that has no templates."""

    spec = Spec(access=ROOT, event="IMAGE.STORE.DELETE")

    id: Annotated[str, Ref(ImageStore)]

    def run(self, call: Call) -> Response:
        """Refuse while templates are on it."""
        row = call.row(ImageStore, self.id)
        refuse_if_used(
            call.session, Template, Template.zone_id == row.zone_id, f"Image store {row.name}", "templates"
        )
        row.removed = call.now()
        return DONE
