"""Parameters in base64."""

import base64
import binascii

from mgmt.api.params import wrong_value

#: CloudStack takes 32 KiB of user data as base64 by GET and 1 MiB by POST; routers hold it for every guest.
LONGEST_USER_DATA = 1024 * 1024


def read_user_data(text: str | None) -> str:
    """User data in base64, "" for none. Raises `ParameterError`."""
    if not text:
        return ""
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise wrong_value("userdata", f"{text[:20]}…", f"base64 ({error})") from error
    return text
