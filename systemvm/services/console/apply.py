"""Start the console proxy, or make it read its files again; sessions go on."""

from systemvm.engine.service import Doors, Rendering


def apply(new: Rendering, old: Rendering, doors: Doors) -> None:
    """See systemvm.engine.service."""
    for daemon in new.daemons:
        doors.daemons.reload(daemon)
