"""`GET /v1/<role>/sessions`: who is at which console now. There are no tickets in it."""

import json
from typing import Any

from systemvm.engine.service import Doors

#: Below the run directory; written by the proxy every few seconds.
SESSIONS = "console/sessions.json"


def read_sessions(doors: Doors) -> list[dict[str, Any]]:
    """VM, host, client address, since (Unix seconds), bytes each way; empty if the console is off."""
    try:
        sessions: list[dict[str, Any]] = json.loads((doors.run_dir / SESSIONS).read_bytes())
    except FileNotFoundError:
        return []
    return sessions


READS = {"sessions": read_sessions}
