"""Start keepalived, or make it read its file again; instances that stay keep their state."""

from systemvm.engine.service import Doors, Rendering
from systemvm.services.keepalived.render import DAEMON


def apply(new: Rendering, old: Rendering, doors: Doors) -> None:
    """See systemvm.engine.service."""
    if not new.daemons:
        return
    (doors.run_dir / "keepalived").mkdir(parents=True, exist_ok=True)
    doors.daemons.reload(DAEMON)
