"""Regions: management servers of one cloud in different places, each with its endpoint."""

from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta
from sqlalchemy import func, select

from mgmt.api.access import EVERYONE, ROOT
from mgmt.api.call import Call
from mgmt.api.lists import PlainListCommand
from mgmt.api.params import unknown_entity, wrong_value
from mgmt.api.registry import DONE, Response, Spec, SyncCommand
from mgmt.api.responses.regions import RegionResponse, region_response
from mgmt.model.errors import InUse, ParameterError
from mgmt.store.tables import Region

RegionId = Annotated[int, "the number of the region", Meta(ge=1, le=2**31 - 1)]


class ListRegions(PlainListCommand, kw_only=True, frozen=True):
    """Lists regions."""

    spec = Spec(answer=RegionResponse, key="region", access=EVERYONE)

    id: Annotated[int | None, "list only the region with this number"] = None
    name: Annotated[str | None, "list only the region with this name"] = None
    keyword: str | None = None

    def items(self, call: Call) -> Sequence[Response]:
        """Those that match; there are few."""
        rows = call.session.scalars(select(Region).order_by(Region.id))
        return [
            region_response(row)
            for row in rows
            if self.id in (None, row.id)
            and self.name in (None, row.name)
            and (self.keyword or "").lower() in row.name.lower()
        ]


class AddRegion(SyncCommand, kw_only=True, frozen=True):
    """Adds a region."""

    spec = Spec(answer=RegionResponse, key="region", access=ROOT, event="REGION.CREATE")

    id: RegionId
    name: str
    endpoint: Annotated[str, "where its API is, as https://eu.example.org/client/"]

    def run(self, call: Call) -> Response:
        """Its number and its name must be new."""
        if call.session.get(Region, self.id) is not None:
            raise ParameterError(f"There is a region with number {self.id} already; choose another")
        _check_name(call, self.name, self.id)
        row = Region(id=self.id, name=self.name, endpoint=read_endpoint(self.endpoint))
        call.session.add(row)
        return region_response(row)


class UpdateRegion(SyncCommand, kw_only=True, frozen=True):
    """Updates a region."""

    spec = Spec(answer=RegionResponse, key="region", access=ROOT, event="REGION.UPDATE")

    id: RegionId
    name: str | None = None
    endpoint: Annotated[str | None, "where its API is"] = None

    def run(self, call: Call) -> Response:
        """Change what was sent."""
        row = _find(call, self.id)
        if self.name:
            _check_name(call, self.name, row.id)
            row.name = self.name
        if self.endpoint:
            row.endpoint = read_endpoint(self.endpoint)
        return region_response(row)


class RemoveRegion(SyncCommand, kw_only=True, frozen=True):
    """Removes a region; the last one stays."""

    spec = Spec(access=ROOT, event="REGION.DELETE")

    id: RegionId

    def run(self, call: Call) -> Response:
        """A cloud is in one region at least."""
        row = _find(call, self.id)
        if call.session.scalar(select(func.count(Region.id))) == 1:
            raise InUse(f"Region {row.name} is the only one; add another before you remove it")
        call.session.delete(row)
        return DONE


def read_endpoint(text: str) -> str:
    """An http or https URL. Raises `ParameterError`."""
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None
    except ValueError:
        is_url = False
    if not is_url:
        raise wrong_value("endpoint", text, "a URL as https://eu.example.org/client/")
    return text


def _find(call: Call, number: int) -> Region:
    row = call.session.get(Region, number)
    if row is None:
        raise unknown_entity("id", str(number))
    return row


def _check_name(call: Call, name: str, own: int) -> None:
    if call.session.scalar(select(Region.id).where(Region.name == name, Region.id != own)) is not None:
        raise ParameterError(f"There is a region {name} already; choose another name")
