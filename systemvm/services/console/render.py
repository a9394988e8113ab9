"""The files of the console proxy and the process that serves them."""

import sys

from systemvm.engine.daemons import Daemon
from systemvm.engine.service import File, Rendering
from systemvm.services.console.settings import files_of
from systemvm.spec.appliances import Console
from systemvm.spec.state import State

FOLDER = "/etc/pileus/console"
#: noVNC as its package lays it out: `core/rfb.js`, `vendor/`.
NOVNC = "/opt/pileus/novnc"
DAEMON = "console"
#: Who the proxy is once it listens; its keys are his.
USER, GROUP = "nobody", "nogroup"


def render(state: State) -> Rendering:
    """See systemvm.engine.service."""
    if state.console is None:
        return Rendering()
    files = tuple(
        File(f"{FOLDER}/{name}", text, mode=0o400, owner=USER, group=GROUP)
        for name, text in files_of(state.console).items()
    )
    return Rendering(files=files, daemons=(daemon_of(state.console),))


def daemon_of(console: Console) -> Daemon:
    """The proxy; another place to listen at is another daemon, all else it reads again on SIGHUP."""
    return Daemon(
        name=DAEMON,
        argv=(
            sys.executable,
            "-m",
            "systemvm.services.console.proxy",
            f"--listen={console.address}:{console.port}",
            f"--folder={FOLDER}",
            "--run=/run/pileus/console",
            f"--novnc={NOVNC}",
            f"--user={USER}",
        ),
        reload=("kill", "-HUP", "{pid}"),
        memory_mib=256,
    )
