"""`GET /v1/<role>/templates` and `/capacity`: what is there, what is on its way, and how much room."""

import os
from typing import Any

import msgspec

from systemvm.engine.service import Doors
from systemvm.services.storage.library import Library
from systemvm.services.storage.settings import DATA, Layout


def read_templates(doors: Doors) -> list[dict[str, Any]]:
    """A TemplateStatus for each template; empty while storage is off."""
    layout = Layout(doors.state_dir / DATA)
    if not layout.database.exists():
        return []
    library = Library(layout.database)
    try:
        statuses: list[dict[str, Any]] = msgspec.to_builtins(library.statuses())
    finally:
        library.close()
    return statuses


def read_capacity(doors: Doors) -> dict[str, int]:
    """Size of the data disk and what is free, in bytes; zeros while it is not mounted."""
    data = doors.state_dir / DATA
    if not os.path.ismount(data):
        return {"bytes": 0, "free": 0}
    room = os.statvfs(data)
    return {"bytes": room.f_blocks * room.f_frsize, "free": room.f_bavail * room.f_frsize}


READS = {"templates": read_templates, "capacity": read_capacity}
