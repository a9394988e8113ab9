"""What the agent can read from the metadata server: which passwords were taken."""

from collections.abc import Callable
from typing import Any

from systemvm.engine.service import Doors
from systemvm.engine.swap import under
from systemvm.services.metadata.passwords import TakenPasswords
from systemvm.services.metadata.settings import DATABASE


def passwords(doors: Doors) -> list[dict[str, Any]]:
    """Identities of passwords that guests confirmed, with address and time; never a password."""
    path = under(doors.root, DATABASE)
    if not path.exists():
        return []
    taken = TakenPasswords(path)
    try:
        return taken.all()
    finally:
        taken.close()


READS: dict[str, Callable[[Doors], Any]] = {"passwords": passwords}
