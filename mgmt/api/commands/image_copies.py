"""Templates and ISOs copied to other zones, where they keep their id."""

from typing import Annotated

from mgmt.api.access import EVERYONE, Ref
from mgmt.api.call import Call
from mgmt.api.images import check_store, image
from mgmt.api.registry import AsyncCommand, Spec
from mgmt.api.responses.templates import ISO, TEMPLATE
from mgmt.model.errors import InUse, ParameterError
from mgmt.model.states import ImageKind, TemplateState
from mgmt.ops import names
from mgmt.ops.images.template_copies import insert_copy
from mgmt.ops.images.template_zones import zone_rows
from mgmt.store.tables import Job, Template, Zone


class _CopyImage(AsyncCommand, kw_only=True, frozen=True):
    """What both commands do."""

    id: Annotated[str, Ref(Template)]
    sourcezoneid: Annotated[str | None, Ref(Zone, use=True), "the zone that it is copied from"] = None
    destzoneid: Annotated[str | None, Ref(Zone, use=True), "the zone that it is copied to"] = None
    destzoneids: Annotated[list[str] | None, Ref(Zone, use=True), "the zones that it is copied to"] = None

    def start(self, call: Call, kind: ImageKind, word: str) -> Job:
        """Insert its rows in the other zones; the workflow has them filled."""
        row = image(call, kind, self.id)
        there = {each.zone_id: each for each in zone_rows(call.session, row)}
        wanted = dict.fromkeys([*(self.destzoneids or []), *([self.destzoneid] if self.destzoneid else [])])
        if not wanted:
            raise ParameterError("Send destzoneid or destzoneids: where it is to be copied to")
        source = there.get(self.sourcezoneid) if self.sourcezoneid else next(iter(there.values()), None)
        if source is None or source.state != TemplateState.ready:
            raise ParameterError(f"{word} {row.name} is not Ready in the zone that it is copied from")
        for zone_id in wanted:
            zone = call.row(Zone, zone_id)
            if zone_id in there:
                raise InUse(f"{word} {row.name} is in zone {zone.name} already")
            check_store(call, zone)
        copies = [insert_copy(call.session, source, zone_id) for zone_id in wanted]
        arguments = {"copy_ids": [copy.id for copy in copies]}
        return call.submit(names.COPY_TEMPLATE, arguments, kind=word, about=copies[0])


class CopyTemplate(_CopyImage, kw_only=True, frozen=True):
    """Copies a template to other zones."""

    spec = Spec(answer=TEMPLATE, access=EVERYONE, event="TEMPLATE.COPY")

    def run(self, call: Call) -> Job:
        """See _CopyImage."""
        return self.start(call, ImageKind.template, "Template")


class CopyIso(_CopyImage, kw_only=True, frozen=True):
    """Copies an ISO to other zones."""

    spec = Spec(answer=ISO, access=EVERYONE, event="ISO.COPY")

    def run(self, call: Call) -> Job:
        """See _CopyImage."""
        return self.start(call, ImageKind.iso, "Iso")
