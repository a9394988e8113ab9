"""The storage servers' processes: `python -m systemvm.services.storage.server --face hosts --listen …`.

For hosts: `GET /v1/templates/<id>` over TLS 1.3, whole or by Range, for whoever shows a ticket of mgmt's for
that template; `PUT /v1/uploads/<id>` takes one in: see `uploads.py`. Users outside have a process of their
own: see `public.py`. The workers are an unprivileged user that holds two open folders and can reach nothing
else.
"""

import argparse
import logging
import os
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from flask import Flask, Response, request
from gunicorn.app.base import BaseApplication

from systemvm.engine.ticket import verify
from systemvm.services.storage.faces import (
    STALL,
    Folders,
    Redacted,
    length_required,
    plain_app,
    send_image,
    take_in,
)
from systemvm.services.storage.public import create_public_app
from systemvm.services.storage.settings import CERTIFICATE, HOSTS, KEY, PUBLIC, TICKET_KEY, Layout
from systemvm.services.storage.uploads import Uploads
from systemvm.spec.ticket import TicketPurpose

#: Transfers at a time: of hosts, and of users outside, who may be slow.
THREADS = {HOSTS: 16, PUBLIC: 64}
#: Seconds that running transfers get when the process ends.
_GRACE = 8


def create_app(folders: Folders, ticket_key: Path, now: Callable[[], float] = time.time) -> Flask:
    """The application for hosts."""
    app, receiver = plain_app(folders), Uploads(folders.uploads)

    @app.get("/v1/templates/<uuid:template>")
    def template_file(template: UUID) -> Response:
        """A ready template."""
        name = str(template)
        verify(_token(), ticket_key.read_text(), TicketPurpose.template, now(), subject=name)
        return send_image(folders, name)

    @app.route("/v1/uploads/<uuid:upload>", methods=["PUT", "POST"])
    def receive(upload: UUID) -> tuple[Response, int]:
        """Take an image in."""
        ticket = verify(_token(), ticket_key.read_text(), TicketPurpose.upload, now(), subject=str(upload))
        if request.content_length is None:
            return length_required()
        return take_in(folders, receiver, ticket, request.stream, request.content_length)

    return app


def _token() -> str:
    bearer = request.authorization.token if request.authorization is not None else None
    return request.args.get("ticket") or bearer or ""


class StorageServer(BaseApplication):  # type: ignore[misc]
    """gunicorn around the application."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        """See gunicorn."""
        for name, value in _settings(self._options).items():
            # Older gunicorns lack some.
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Flask:
        """Open the folders while still root; see preload_app."""
        layout, flags = Layout(self._options.data), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        folders = Folders(os.open(layout.templates, flags), os.open(layout.uploads, flags))
        create = create_app if self._options.face == HOSTS else create_public_app
        return create(folders, self._options.folder / TICKET_KEY)


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    def modern(conf: object, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        # For every connection anew, so that a renewed certificate needs no restart.
        context = default()
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return context

    return {
        "bind": options.listen,
        "when_ready": _limit_stalls,
        "workers": 1,
        "worker_class": "gthread",
        "threads": THREADS[options.face],
        "preload_app": True,
        "timeout": 300,
        "graceful_timeout": _GRACE,
        "keepalive": 15,
        "certfile": str(options.folder / CERTIFICATE),
        "keyfile": str(options.folder / KEY),
        "ssl_context": modern,
        "control_socket_disable": True,
        "worker_tmp_dir": "/dev/shm",  # noqa: S108 (gunicorn's heartbeat belongs in memory)
        "proc_name": f"pileus-storage-{options.face}",
        "loglevel": "info",
        **({"user": options.user, "group": options.group} if os.geteuid() == 0 and options.user else {}),
    }


def _limit_stalls(server: Any) -> None:
    """Accepted connections inherit it: a peer that stops gives its thread back (socket(7), SO_RCVTIMEO)."""
    for listener in server.LISTENERS:
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            listener.sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(STALL), 0))


def main(argv: Sequence[str]) -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="storage-server", description=__doc__)
    parser.add_argument("--face", required=True, choices=tuple(THREADS), help="whom it serves")
    parser.add_argument("--listen", required=True, help="ADDRESS:PORT")
    for name in ("folder", "data"):
        parser.add_argument(f"--{name}", required=True, type=Path)
    for name in ("user", "group"):
        parser.add_argument(f"--{name}", default="", help="whom the worker becomes; only root can")
    logging.getLogger("gunicorn.error").addFilter(Redacted())
    StorageServer(parser.parse_args(argv)).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
