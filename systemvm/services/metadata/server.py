"""The metadata server's process: `python -m systemvm.services.metadata.server --listen ADDRESS:PORT …`."""

import argparse
import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from systemvm.services.metadata.app import create_app
from systemvm.services.metadata.guests import Guests

if TYPE_CHECKING:
    from systemvm.services.metadata.passwords import TakenPasswords

#: Requests at a time; each takes milliseconds.
THREADS = 8


class MetadataServer(BaseApplication):  # type: ignore[misc]
    """gunicorn around the application: a root process that holds the ports, a worker without rights."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        """See gunicorn."""
        for name, value in settings_of(self._options).items():
            # Older gunicorns lack some.
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Flask:
        """See gunicorn."""
        database = self._options.database

        @cache
        def open_passwords() -> "TakenPasswords":
            # The database libraries cost as much memory as all the rest; most guests have no password.
            from systemvm.services.metadata.passwords import TakenPasswords

            return TakenPasswords(database)

        return create_app(Guests(self._options.data), open_passwords)


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """gunicorn's settings."""
    return {
        "bind": options.listen,
        "workers": 1,
        "worker_class": "gthread",
        "threads": THREADS,
        # One copy of the imported code for both processes.
        "preload_app": True,
        "timeout": 120,
        "graceful_timeout": 3,
        "keepalive": 5,
        # gunicorn drops headers with underscores, since a proxy might mistake them for others. There is
        # no proxy here, and the password protocol's header is DomU_Request.
        "header_map": "dangerous",
        # Nobody may tell us where a request really came from.
        "forwarded_allow_ips": "",
        "proxy_protocol": False,
        "control_socket_disable": True,
        "worker_tmp_dir": "/dev/shm",  # noqa: S108 (gunicorn's heartbeat belongs in memory)
        "proc_name": "pileus-metadata",
        "loglevel": "warning",
        **({"user": options.user, "group": options.group} if os.geteuid() == 0 and options.user else {}),
    }


def main(argv: Sequence[str]) -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="metadata-server", description=__doc__)
    parser.add_argument("--listen", required=True, action="append", help="ADDRESS:PORT, as often as needed")
    for name in ("data", "database"):
        parser.add_argument(f"--{name}", required=True, type=Path)
    for name in ("user", "group"):
        parser.add_argument(f"--{name}", default="", help="whom the worker becomes; only root can")
    MetadataServer(parser.parse_args(argv)).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
