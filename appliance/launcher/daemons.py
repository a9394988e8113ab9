"""Which way this machine runs daemons: systemd where it is PID 1, plain processes elsewhere."""

import os
from pathlib import Path

from appliance.paths import Paths
from systemvm.engine.daemons import Daemons
from systemvm.engine.processes import Processes
from systemvm.engine.systemd import Systemd


def has_systemd() -> bool:
    """Whether systemd is PID 1 (sd_booted(3))."""
    return Path("/run/systemd/system").is_dir()


def uses_systemd() -> bool:
    """Whether this cloud's daemons are systemd's.

    `PILEUS_DAEMONS=processes` asks for plain processes also where systemd is: a cloud inside a network
    namespace needs it, because systemd's units would run outside.
    """
    return has_systemd() and os.environ.get("PILEUS_DAEMONS") != "processes"


def machine_daemons(paths: Paths) -> Daemons:
    """The machine's way to run this cloud's daemons."""
    if uses_systemd():
        return Systemd()
    paths.daemons.mkdir(parents=True, exist_ok=True)
    return Processes(paths.daemons)
