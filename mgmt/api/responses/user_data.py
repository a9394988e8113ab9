"""User data objects on the wire."""

from collections.abc import Sequence

from mgmt.api.call import Call
from mgmt.api.registry import Entity, Response
from mgmt.api.responses.lookup import Owners
from mgmt.store.tables import UserData


class UserDataResponse(Response, kw_only=True):
    """User data under a name; `userdata` is base64, `params` the names of its variables."""

    id: str
    name: str
    userdata: str
    params: str | None = None
    account: str | None = None
    project: str | None = None
    projectid: str | None = None
    accountid: str | None = None
    domainid: str | None = None
    domain: str | None = None
    domainpath: str | None = None


def build_user_data(call: Call, rows: Sequence[UserData]) -> list[UserDataResponse]:
    """Answers for user data."""
    owners = Owners(call, rows)
    return [
        UserDataResponse(
            id=row.id,
            name=row.name,
            userdata=row.data,
            params=",".join(row.parameters) or None,
            accountid=row.account_id,
            **owners.names(row),
        )
        for row in rows
    ]


USER_DATA = Entity(UserData, UserDataResponse, "userdata", build_user_data)
