"""The management server's errors: one root, each with the codes that CloudStack's clients know.

`code` is the HTTP status and `errorcode`, `cs_code` is `cserrorcode` (clients search for 4350 and 4360).
Any layer may raise them; only `mgmt.api.wire` turns them into answers. The text names the item, the
value and what to do.
"""

from typing import ClassVar


class CloudError(Exception):
    """Root of all errors a user gets to see. As it stands: something failed inside (530)."""

    code: ClassVar[int] = 530
    cs_code: ClassVar[int] = 4250

    @property
    def text(self) -> str:
        """The sentence for the user."""
        return str(self.args[0]) if self.args else "The management server failed; see its log"


class BadRequest(CloudError):
    """A request that is no API call: not form data, too big, an unknown shape."""

    code = 400
    cs_code = 9999


class Unauthorized(CloudError):
    """Who calls is not proven: bad key, signature, session; or a key's user may not call the command."""

    code = 401
    cs_code = 9999


class WrongMethod(CloudError):
    """A change by GET where only POST is safe."""

    code = 405
    cs_code = 9999


class TooManyRequests(CloudError):
    """Too many failed log-ins."""

    code = 429
    cs_code = 9999


class CodeNeeded(CloudError):
    """The session, or this very call, lacks a right code of the user's second factor."""

    code = 511
    cs_code = 9999


class ParameterError(CloudError):
    """A parameter's value is wrong, or is wrong together with the others or the object's state."""

    code = 431
    cs_code = 4350


class MissingParameter(ParameterError):
    """A parameter is not there."""

    cs_code = 9999


class UnknownCommand(CloudError):
    """No such command, or not for this caller."""

    code = 432
    cs_code = 9999


class PermissionDenied(CloudError):
    """The caller may not do this with that object."""

    code = 531
    cs_code = 4365


class LoginRefused(CloudError):
    """Wrong user name or password, or a disabled user."""

    code = 531
    cs_code = 9999


class LimitReached(CloudError):
    """An account's limit of resources."""

    code = 532
    cs_code = 4280


class NoCapacity(CloudError):
    """No host, address or space left for it."""

    code = 533
    cs_code = 4270


class Unavailable(CloudError):
    """Something needed is down."""

    code = 534
    cs_code = 4285


class InUse(CloudError):
    """It cannot go while others use it."""

    code = 536
    cs_code = 4375


class RuleConflict(CloudError):
    """A rule that contradicts another."""

    code = 537
    cs_code = 4360
