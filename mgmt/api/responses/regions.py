"""Regions on the wire; their ids are numbers."""

from mgmt.api.registry import Response
from mgmt.store.tables import Region


class RegionResponse(Response):
    """A region."""

    id: int
    name: str
    endpoint: str
    gslbserviceenabled: bool = False
    portableipserviceenabled: bool = False


def region_response(row: Region) -> RegionResponse:
    """A region on the wire."""
    return RegionResponse(id=row.id, name=row.name, endpoint=row.endpoint)
