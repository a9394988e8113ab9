"""Events and tags on the wire."""

from collections.abc import Sequence

from mgmt.api.call import Call
from mgmt.api.registry import Entity, Response
from mgmt.api.responses.lookup import Owners, rows_by_id, wire_time
from mgmt.store.tables import Event, Tag, User


class EventResponse(Response):
    """An event."""

    id: str
    type: str
    description: str
    level: str
    state: str
    created: str | None
    account: str | None = None
    project: str | None = None
    projectid: str | None = None
    domain: str | None = None
    domainid: str | None = None
    domainpath: str | None = None
    username: str | None = None
    resourceid: str | None = None
    resourcetype: str | None = None
    parentid: str | None = None
    archived: bool = False


def event_responses(call: Call, rows: Sequence[Event]) -> list[EventResponse]:
    """Events on the wire."""
    owners = Owners(call, rows)
    users = rows_by_id(call, User, (row.user_id for row in rows))
    return [
        EventResponse(
            id=row.id,
            type=row.type,
            description=row.description,
            level=row.level,
            state=row.state,
            created=wire_time(row.created),
            username=users[row.user_id].username if row.user_id in users else None,
            resourceid=row.resource_id,
            resourcetype=row.resource_type,
            parentid=row.parent_id,
            archived=row.removed is not None,
            **owners.names(row),
        )
        for row in rows
    ]


EVENT = Entity(Event, EventResponse, "event", event_responses)


class ListedTagResponse(Response):
    """A tag, as listTags shows it."""

    key: str
    value: str
    resourcetype: str
    resourceid: str
    account: str | None = None
    project: str | None = None
    projectid: str | None = None
    domain: str | None = None
    domainid: str | None = None
    domainpath: str | None = None


def listed_tag_responses(call: Call, rows: Sequence[Tag]) -> list[ListedTagResponse]:
    """Tags on the wire."""
    owners = Owners(call, rows)
    return [
        ListedTagResponse(
            key=row.key,
            value=row.value,
            resourcetype=row.resource_type,
            resourceid=row.resource_id,
            **owners.names(row),
        )
        for row in rows
    ]


TAG = Entity(Tag, ListedTagResponse, "tag", listed_tag_responses)
