"""`python -m appliance.hostagent --home HOME`: the host agent. Its restart touches no VM."""

import argparse
import logging
import signal
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from gunicorn.app.base import BaseApplication

from appliance.hostagent.changes import Changes
from appliance.hostagent.config import HostAgentConfig, read_config
from appliance.hostagent.networks import HostNetworks
from appliance.hostagent.tls import ServerTls
from appliance.launcher.libvirt import libvirt_uri
from appliance.paths import Paths
from systemvm.engine.errors import EngineError

#: Requests at a time. Some wait for VMs; reads must get through beside them.
THREADS = 24
_log = logging.getLogger("pileus.host")


class HostAgentServer(BaseApplication):  # type: ignore[misc]
    """gunicorn with one worker (what is under way lives in its memory), on the management address."""

    def __init__(self, config: HostAgentConfig, load: Callable[[], Any]) -> None:
        self._config = config
        self._load = load
        super().__init__()

    def load_config(self) -> None:
        """See gunicorn."""
        tls = ServerTls(self._config)

        def context(conf: object, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
            return tls.context()

        settings = {
            "bind": f"{self._config.management_address}:{self._config.agent_port}",
            "workers": 1,
            "worker_class": "gthread",
            "threads": THREADS,
            "timeout": 300,
            "graceful_timeout": 30,
            "keepalive": 15,
            "certfile": self._config.certificate,
            "keyfile": self._config.key,
            "ssl_context": context,
            "control_socket_disable": True,
            "worker_tmp_dir": "/dev/shm",  # noqa: S108 (gunicorn's heartbeat belongs in memory)
            "proc_name": "pileus-hostagent",
            "loglevel": "warning",
        }
        for name, value in settings.items():
            if name in self.cfg.settings:  # older gunicorns lack some
                self.cfg.set(name, value)

    def load(self) -> Any:
        """See gunicorn; runs in the worker."""
        return self._load()


def load_app(config: HostAgentConfig, paths: Paths) -> Any:
    """The application over this host; learns from libvirt which VMs are there."""
    from appliance.hostagent import stalled
    from appliance.hostagent.app import create_app
    from appliance.hostagent.host import Host

    host = Host(config, paths, libvirt_uri(paths))
    _let_go_at_the_end(host.hypervisor.changes)
    for name in host.volumes.clear_unfinished():
        _log.warning("%s is removed, because the agent ended before it was done", name)
    try:
        _log.info("%d VMs found, because libvirt is the record", host.domains.read_back())
        host.disk_moves.wake_all()
    except EngineError as error:
        _log.warning("VMs are read back later: %s", error)
    stalled.watch(host.hypervisor)
    return create_app(host)


def _let_go_at_the_end(changes: Changes) -> None:
    """Whoever waits for changes must not hold up the end of the worker, which waits for all requests."""
    before = signal.getsignal(signal.SIGTERM)

    def end(number: int, frame: FrameType | None) -> None:
        changes.close()
        if callable(before):
            before(number, frame)

    signal.signal(signal.SIGTERM, end)


def main(arguments: list[str]) -> int:
    """Bring up the host's own networks, then listen; 1 when that fails."""
    parser = argparse.ArgumentParser(prog="python -m appliance.hostagent", description=__doc__)
    parser.add_argument("--home", type=Path, default=Paths.from_environment().home)
    home = parser.parse_args(arguments).home.absolute()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    paths = Paths(home, Paths.from_environment().cache)
    paths.create()
    config = read_config(paths)
    try:
        HostNetworks(config, paths).reapply()
    except EngineError as error:
        _log.error("the host's networks cannot be made: %s", error)
        return 1
    HostAgentServer(config, lambda: load_app(config, paths)).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
