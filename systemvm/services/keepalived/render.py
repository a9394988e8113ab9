"""The configuration of keepalived, and the daemon that runs it."""

from pathlib import Path

from systemvm.engine.daemons import Daemon
from systemvm.engine.service import File, NativeCheck, Rendering
from systemvm.engine.templates import render_template
from systemvm.spec import codec
from systemvm.spec.state import State

CONFIG = "/etc/pileus/keepalived/keepalived.conf"
#: The section itself, for the reads: keepalived's own file is not made for reading back.
SECTION = "/etc/pileus/keepalived/section.json"
_RUN = "/run/pileus/keepalived"

DAEMON = Daemon(
    name="keepalived",
    argv=(
        "keepalived",
        "--dont-fork",
        "--log-console",
        "--no-syslog",
        "--vrrp",
        f"--use-file={CONFIG}",
        f"--pid={_RUN}/keepalived.pid",
        f"--vrrp_pid={_RUN}/vrrp.pid",
    ),
    reload=("kill", "-HUP", "{pid}"),
)


def render(state: State) -> Rendering:
    """See systemvm.engine.service."""
    instances = state.keepalived.instances if state.keepalived is not None else ()
    if state.keepalived is None or not instances:
        return Rendering()
    text = render_template(
        Path(__file__).parent,
        "keepalived.conf.j2",
        state,
        # What a capture and the logs show; unique, because two routers of a pair may share a host name.
        router_id=f"{state.hostname}-{state.machine}",
        instances=instances,
    )
    return Rendering(
        files=(File(CONFIG, text), File(SECTION, codec.encode(state.keepalived).decode())),
        checks=(NativeCheck(("keepalived", "--config-test", f"--use-file={{stage}}{CONFIG}")),),
        daemons=(DAEMON,),
    )
