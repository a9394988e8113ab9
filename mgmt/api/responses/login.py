"""The answer of login."""

from typing import Any

from mgmt.api.sessions import OpenedSession


def login_response(opened: OpenedSession) -> dict[str, Any]:
    """Who logged in, and the session key for all further calls; `timeout` in seconds."""
    caller = opened.caller
    return {
        "username": caller.user.username,
        "userid": caller.user.id,
        "domainid": caller.domain.id,
        "timeout": opened.seconds,
        "account": caller.account.name,
        "firstname": caller.user.firstname,
        "lastname": caller.user.lastname,
        "type": str(int(caller.account.type)),
        "timezone": caller.user.timezone,
        "registered": "false",
        "sessionkey": opened.session_key,
    }
