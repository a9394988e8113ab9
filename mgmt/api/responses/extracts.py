"""Extractions on the wire: where users download what they own."""

from collections.abc import Sequence
from functools import partial

from mgmt.api.call import Call
from mgmt.api.registry import Entity, Response
from mgmt.api.responses.lookup import rows_by_id, wire_time
from mgmt.model.errors import Unavailable
from mgmt.ops.images.template_zones import shown_id
from mgmt.ops.runtime import Runtime
from mgmt.ops.storage.downloads import download_url
from mgmt.store.tables import Job, Template, Volume, Zone

CREATED, NOT_CREATED = "DOWNLOAD_URL_CREATED", "DOWNLOAD_URL_NOT_CREATED"
MODE = "HTTP_DOWNLOAD"


class ExtractResponse(Response, kw_only=True):
    """What is extracted; `url` is there while it is good, and is a secret."""

    id: str
    name: str
    extractId: str | None = None  # noqa: N815 (the original's spelling)
    extractMode: str = MODE  # noqa: N815 (the same)
    accountid: str
    zoneid: str
    zonename: str | None = None
    created: str | None = None
    state: str = NOT_CREATED
    storagetype: str
    url: str | None = None


def build_extracts(
    call: Call, rows: Sequence[Template | Volume], storage_type: str = "template"
) -> list[ExtractResponse]:
    """Answers without their URLs, which belong to a job."""
    zones = rows_by_id(call, Zone, (row.zone_id for row in rows))
    return [
        ExtractResponse(
            id=shown_id(row) if isinstance(row, Template) else row.id,
            name=row.name,
            accountid=row.account_id,
            zoneid=row.zone_id,
            zonename=zones[row.zone_id].name if row.zone_id in zones else None,
            storagetype=storage_type,
        )
        for row in rows
    ]


def with_url(call: Call, job: Job, answer: Response, *, image_id: str, suffix: str) -> Response:
    """The answer with its URL: the same whenever the job is asked, until it ends."""
    assert isinstance(answer, ExtractResponse)  # noqa: S101 (the spec says so; this tells the type checker)
    try:
        answer.url = download_url(
            call.part(Runtime),
            call.session,
            zone_id=answer.zoneid,
            image_id=image_id,
            suffix=suffix,
            nonce=job.id,
            since=job.completed or job.created,
        )
    except Unavailable:
        # It was there when the job was done, and comes back at the same address or another one.
        return answer
    answer.extractId, answer.created = job.id, wire_time(job.completed)
    answer.state = CREATED if answer.url else NOT_CREATED
    return answer


TEMPLATE_EXTRACT = Entity(Template, ExtractResponse, "template", build_extracts)
VOLUME_EXTRACT = Entity(Volume, ExtractResponse, "volume", partial(build_extracts, storage_type="volume"))
ISO_EXTRACT = Entity(Template, ExtractResponse, "iso", partial(build_extracts, storage_type="iso"))
