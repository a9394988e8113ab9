"""Does keepalived run, and which state is every instance in?"""

import time

from systemvm.engine.service import Doors
from systemvm.services.keepalived.render import DAEMON
from systemvm.services.keepalived.vrrp import VrrpState, read_status
from systemvm.spec.network import VrrpInstance
from systemvm.spec.state import State
from systemvm.spec.types import ProbeResult

#: Seconds that a transition may take.
SETTLE = 3.0
_POLL = 0.1
_WORDS = {
    VrrpState.primary: "primary: holds {held}",
    VrrpState.backup: "backup: the other router holds the addresses, or will be heard of first",
    VrrpState.mixed: "holds only {held}: keepalived is between two states",
    VrrpState.fault: "the link {interface} is down or missing: this router cannot take over",
}


def probe(state: State, doors: Doors) -> list[ProbeResult]:
    """See systemvm.engine.service. Being backup is healthy; having no working link is not."""
    instances = state.keepalived.instances if state.keepalived is not None else ()
    if not instances:
        return []
    return [_probe_daemon(doors), *(_probe_instance(instance) for instance in instances)]


def _probe_daemon(doors: Doors) -> ProbeResult:
    pid = doors.daemons.pid(DAEMON.name)
    if pid is None:
        said = "; ".join(doors.daemons.logs(DAEMON.name, 5)) or "nothing"
        return _result("daemon", False, f"keepalived does not run; it said: {said}")
    return _result("daemon", True, f"keepalived runs as process {pid}")


def _probe_instance(instance: VrrpInstance) -> ProbeResult:
    deadline = time.monotonic() + SETTLE
    status = read_status(instance)
    # A reload adds addresses one after the other; only what stays mixed is a fault.
    while status.state is VrrpState.mixed and time.monotonic() < deadline:
        time.sleep(_POLL)
        status = read_status(instance)
    words = _WORDS[status.state].format(held=", ".join(status.held), interface=status.interface)
    healthy = status.state in (VrrpState.primary, VrrpState.backup)
    return _result(f"vrrp {instance.name}", healthy, words)


def _result(name: str, healthy: bool, message: str) -> ProbeResult:
    return ProbeResult(service="keepalived", name=name, healthy=healthy, message=message)
