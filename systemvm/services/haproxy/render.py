"""The configuration of haproxy, and the daemon that runs it."""

import hashlib
from pathlib import Path

from systemvm.engine.daemons import Daemon
from systemvm.engine.service import File, NativeCheck, Rendering
from systemvm.engine.templates import render_template
from systemvm.spec import codec
from systemvm.spec.network import Balancer
from systemvm.spec.state import State

CONFIG = "/etc/pileus/haproxy/haproxy.cfg"
#: Below the run directory: haproxy's own socket, and what it knew of its members before a reload.
SOCKET = "haproxy/stats.sock"
SERVER_STATE = "haproxy/servers.state"
_RUN = "/run/pileus"

DAEMON = Daemon(
    name="haproxy",
    # -W: a master that stays and workers that come and go (haproxy management guide, 4).
    argv=("haproxy", "-W", "-f", CONFIG),
    reload=("kill", "-USR2", "{pid}"),
)


def render(state: State) -> Rendering:
    """See systemvm.engine.service.

    A balancer without members is left out: nothing listens, so the kernel refuses connections to it.
    """
    balancers = served(state)
    if not balancers:
        return Rendering()
    text = render_template(
        Path(__file__).parent,
        "haproxy.cfg.j2",
        state,
        digest=digest(state),
        socket=f"{_RUN}/{SOCKET}",
        server_state=f"{_RUN}/{SERVER_STATE}",
        balancers=balancers,
    )
    return Rendering(
        files=(File(CONFIG, text),),
        checks=(NativeCheck(("haproxy", "-c", "-q", "-f", f"{{stage}}{CONFIG}")),),
        daemons=(DAEMON,),
    )


def served(state: State) -> tuple[Balancer, ...]:
    """The balancers that have members."""
    balancers = state.haproxy.balancers if state.haproxy is not None else ()
    return tuple(balancer for balancer in balancers if balancer.members)


def digest(state: State) -> str:
    """A name for what is served; equal for equal balancers."""
    return hashlib.sha256(codec.encode(served(state))).hexdigest()[:16]
