"""The answer of login."""

from typing import Any

from mgmt.api.second_factor import ISSUER, PROVIDER
from mgmt.api.sessions import OpenedSession


def login_response(opened: OpenedSession) -> dict[str, Any]:
    """Who logged in, and the session key for all further calls; `timeout` in seconds."""
    caller = opened.caller
    provider = {"providerfor2fa": PROVIDER} if caller.user.totp_enabled else {}
    return {
        **provider,
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
        "is2faenabled": str(caller.user.totp_enabled or caller.user.totp_mandated).lower(),
        "is2faverified": "false",
        "issuerfor2fa": ISSUER,
        "sessionkey": opened.session_key,
    }
