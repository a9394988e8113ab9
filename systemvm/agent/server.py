"""gunicorn around the agent: one worker, few threads, one address."""

import os
import ssl
import time
from collections.abc import Callable
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.systemd import sd_notify
from gunicorn.workers.gthread import ThreadWorker

from systemvm.agent.tls import Credentials

#: Requests at a time: one apply, health checks and reads beside it.
THREADS = 8


class WatchedWorker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's worker, whose main loop also tells systemd that it lives; a hung one does not.

    Three times within the patience that systemd names in WATCHDOG_USEC (sd_watchdog_enabled(3)), if it does.
    """

    _next_sign = 0.0

    def notify(self) -> None:
        """See gunicorn; called about once a second."""
        super().notify()
        patience = int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6
        if patience and time.monotonic() >= self._next_sign:
            self._next_sign = time.monotonic() + patience / 3
            sd_notify("WATCHDOG=1", self.log)


class AgentServer(BaseApplication):  # type: ignore[misc]
    """Listens on `address`:`port` at once; `load` makes the WSGI application, in the worker.

    The port is open before the application is imported, so that a client's first request waits for it
    instead of being refused.
    """

    def __init__(self, address: str, port: int, credentials: Credentials, load: Callable[[], Any]) -> None:
        self._settings = _settings(f"{address}:{port}", credentials)
        self._load = load
        super().__init__()

    def load_config(self) -> None:
        """See gunicorn."""
        for name, value in self._settings.items():
            # Older gunicorns lack some.
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:
        """See gunicorn."""
        return self._load()


def _settings(bind: str, credentials: Credentials) -> dict[str, Any]:
    credentials.context()  # what cannot work shows now, not with the first client

    def current_context(conf: object, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        return credentials.context()

    return {
        "bind": bind,
        "workers": 1,
        "worker_class": WatchedWorker,
        "threads": THREADS,
        # The worker's main loop beats whatever its threads do; this only catches a worker that is stuck
        # as a whole, and importing the application on an emulated processor must not look like that.
        "timeout": 300,
        "graceful_timeout": 5,
        "keepalive": 15,
        "certfile": str(credentials.certificate),
        "keyfile": str(credentials.key),
        "ssl_context": current_context,
        "control_socket_disable": True,
        "worker_tmp_dir": "/dev/shm",  # noqa: S108 (gunicorn's heartbeat belongs in memory)
        "proc_name": "pileus-agent",
        "loglevel": "warning",
    }
