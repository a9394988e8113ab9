"""Events."""

from datetime import datetime
from typing import Annotated, Any

from sqlalchemy import Select

from mgmt.api.access import EVERYONE
from mgmt.api.call import Call
from mgmt.api.lists import Equals, OwnedListCommand
from mgmt.api.registry import Spec
from mgmt.api.responses.operations import EVENT
from mgmt.store.tables import Event


class ListEvents(OwnedListCommand, kw_only=True, frozen=True):
    """Lists events, the newest first."""

    spec = Spec(answer=EVENT, access=EVERYONE)
    searched = (Event.description, Event.type)

    type: Annotated[str | None, "the type of the events", Equals(Event.type)] = None
    level: Annotated[str | None, "INFO, WARN or ERROR", Equals(Event.level)] = None
    state: Annotated[str | None, "Scheduled, Started or Completed", Equals(Event.state)] = None
    resourceid: Annotated[str | None, "what they are about", Equals(Event.resource_id)] = None
    resourcetype: Annotated[str | None, "what kind of thing they are about", Equals(Event.resource_type)] = (
        None
    )
    startdate: Annotated[datetime | None, "list only events since"] = None
    enddate: Annotated[datetime | None, "list only events until"] = None

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """Events between two dates."""
        if self.startdate is not None:
            query = query.where(Event.created >= self.startdate)
        if self.enddate is not None:
            query = query.where(Event.created <= self.enddate)
        return query

    def order(self) -> tuple[Any, ...]:
        """The newest first."""
        return (Event.created.desc(), Event.id)
