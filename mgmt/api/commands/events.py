"""Events."""

from datetime import datetime
from typing import Annotated, Any, ClassVar

from sqlalchemy import Select, delete, or_, select, update

from mgmt.api.access import EVERYONE, Ref
from mgmt.api.call import Call
from mgmt.api.lists import Equals, OwnedListCommand
from mgmt.api.ownership import visible
from mgmt.api.params import Unsupported
from mgmt.api.registry import DONE, Response, Spec, SyncCommand
from mgmt.api.responses.operations import EVENT
from mgmt.model.errors import ParameterError
from mgmt.store.tables import Event

BY_DATES = Unsupported("startdate and enddate say which events")


class ListEvents(OwnedListCommand, kw_only=True, frozen=True):
    """Lists events, the newest first."""

    spec = Spec(answer=EVENT, access=EVERYONE)
    searched = (Event.description, Event.type)
    shows_removed: ClassVar[bool] = True  # archived ones are there, and shown if asked for

    type: Annotated[str | None, "the type of the events", Equals(Event.type)] = None
    level: Annotated[str | None, "INFO, WARN or ERROR", Equals(Event.level)] = None
    state: Annotated[str | None, "Scheduled, Started or Completed", Equals(Event.state)] = None
    startid: Annotated[str | None, Ref(Event), "list only this event and those that followed from it"] = None
    parentid: Annotated[str | None, Ref(Event), "list only those that followed from this event"] = None
    resourceid: Annotated[str | None, "what they are about", Equals(Event.resource_id)] = None
    resourcetype: Annotated[str | None, "what kind of thing they are about", Equals(Event.resource_type)] = (
        None
    )
    startdate: Annotated[datetime | None, "list only events since"] = None
    enddate: Annotated[datetime | None, "list only events until"] = None
    archived: Annotated[bool, "true: archived events too"] = False
    duration: Annotated[int | None, BY_DATES] = None
    entrytime: Annotated[int | None, BY_DATES] = None

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """Events between two dates, of one start, archived or not."""
        if self.startid is not None:
            query = query.where(or_(Event.id == self.startid, Event.parent_id == self.startid))
        if self.parentid is not None:
            query = query.where(Event.parent_id == self.parentid)
        if not self.archived:
            query = query.where(Event.removed.is_(None))
        return between(query, self.startdate, self.enddate)

    def order(self) -> tuple[Any, ...]:
        """The newest first."""
        return (Event.created.desc(), Event.id)


class _Chosen(SyncCommand, kw_only=True, frozen=True):
    """Events chosen by ids, type or dates; at least one of them."""

    ids: Annotated[list[str] | None, Ref(Event), "the IDs of the events"] = None
    type: Annotated[str | None, "only events of this type"] = None
    startdate: Annotated[datetime | None, "only events since"] = None
    enddate: Annotated[datetime | None, "only events until"] = None

    def chosen(self, call: Call) -> Select[Any]:
        """Ids of the caller's events. Raises `ParameterError` if nothing says which."""
        if self.ids is None and self.type is None and self.enddate is None:
            raise ParameterError("Nothing says which events: send ids, type or enddate")
        query = select(Event.id).where(
            visible(
                call.session,
                call.caller,
                Event,
                account=None,
                domain_id=None,
                list_all=True,
                recursive=True,
                by_id=self.ids is not None,
            )
        )
        if self.ids is not None:
            query = query.where(Event.id.in_(self.ids))
        if self.type is not None:
            query = query.where(Event.type == self.type)
        return between(query, self.startdate, self.enddate)


class ArchiveEvents(_Chosen, kw_only=True, frozen=True):
    """Archives events: they are listed only if asked for."""

    spec = Spec(access=EVERYONE)

    def run(self, call: Call) -> Response:
        """Mark them, in one statement."""
        chosen = update(Event).where(Event.id.in_(self.chosen(call)), Event.removed.is_(None))
        call.session.execute(
            chosen.values(removed=call.now()), execution_options={"synchronize_session": False}
        )
        return DONE


class DeleteEvents(_Chosen, kw_only=True, frozen=True):
    """Deletes events, archived ones too."""

    spec = Spec(access=EVERYONE)

    def run(self, call: Call) -> Response:
        """Delete them, in one statement."""
        chosen = delete(Event).where(Event.id.in_(self.chosen(call)))
        call.session.execute(chosen, execution_options={"synchronize_session": False})
        return DONE


def between(query: Select[Any], start: datetime | None, end: datetime | None) -> Select[Any]:
    """Only events between two dates. Raises `ParameterError` if they are the wrong way round."""
    if start is not None and end is not None and end < start:
        raise ParameterError(f"enddate {end:%Y-%m-%d %H:%M} is before startdate {start:%Y-%m-%d %H:%M}")
    if start is not None:
        query = query.where(Event.created >= start)
    return query if end is None else query.where(Event.created <= end)
