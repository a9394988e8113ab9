"""The storage server's process: `python -m systemvm.services.storage.server --listen ADDRESS:PORT …`.

`GET /v1/templates/<id>` over TLS 1.3, whole or by Range, for whoever shows a ticket of mgmt's for that
template. `PUT /v1/uploads/<id>` takes one in: see `uploads.py`. The worker is an unprivileged user that
holds the two open folders of these and can reach nothing else.
"""

import argparse
import logging
import os
import re
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

import msgspec
from flask import Flask, Response, jsonify, request
from gunicorn.app.base import BaseApplication
from werkzeug.exceptions import ClientDisconnected
from werkzeug.wsgi import wrap_file

from systemvm.engine.errors import EngineError
from systemvm.engine.ticket import TicketError, verify
from systemvm.services.storage.settings import CERTIFICATE, KEY, TICKET_KEY, Layout
from systemvm.services.storage.uploads import UploadCut, UploadExists, UploadRefused, Uploads
from systemvm.spec.ticket import TicketPurpose

#: Transfers at a time.
THREADS = 16
#: Seconds that running transfers get when the process ends.
_GRACE = 8
#: Seconds that a sender may say nothing.
_STALL = 60.0


def create_app(templates: int, uploads: int, ticket_key: Path, now: Callable[[], float] = time.time) -> Flask:
    """The application; `templates` is the open folder of ready templates, `uploads` that of uploads."""
    app, receiver = Flask("pileus-storage"), Uploads(uploads)

    @app.get("/v1/health")
    def health() -> Response:
        """Whether templates can be served at all."""
        os.stat(".", dir_fd=templates)
        return jsonify(healthy=True)

    @app.get("/v1/templates/<uuid:template>")
    def template_file(template: UUID) -> Response:
        """A ready template."""
        name = str(template)
        verify(_token(), ticket_key.read_text(), TicketPurpose.template, now(), subject=name)
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=templates)
        return _send(os.fdopen(handle, "rb"))

    @app.route("/v1/uploads/<uuid:upload>", methods=["PUT", "POST"])
    def receive(upload: UUID) -> tuple[Response, int]:
        """Take an image in."""
        name = str(upload)
        ticket = verify(_token(), ticket_key.read_text(), TicketPurpose.upload, now(), subject=name)
        if request.content_length is None:
            return jsonify(error={"code": "length_required", "message": "send a Content-Length"}), 411
        if _exists(name, templates):
            raise UploadExists(f"{name} is ready already, and never changes")
        connection = request.environ.get("gunicorn.socket")
        if connection is not None:
            connection.settimeout(_STALL)
        try:
            received = receiver.receive(
                name,
                request.stream,
                length=request.content_length,
                limit=ticket.max_bytes,
                digest=request.headers.get("Content-Digest", ""),
            )
        except ClientDisconnected:
            raise UploadCut("the sender went away, or said nothing for long: send it again") from None
        return jsonify(msgspec.to_builtins(received)), 201

    @app.errorhandler(UploadRefused)
    @app.errorhandler(TicketError)
    def refused(error: EngineError) -> tuple[Response, int]:
        return jsonify(error={"code": error.code, "message": str(error)}), error.status

    @app.errorhandler(FileNotFoundError)
    def absent(error: FileNotFoundError) -> tuple[Response, int]:
        message = "this template is not ready here: see its status"
        return jsonify(error={"code": "not_found", "message": message}), 404

    return app


def _token() -> str:
    bearer = request.authorization.token if request.authorization is not None else None
    return request.args.get("ticket") or bearer or ""


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _send(file: BinaryIO) -> Response:
    """A file by what is open, not by path: whole, or the asked part of it (RFC 9110, 14)."""
    info = os.fstat(file.fileno())
    response = Response(
        wrap_file(request.environ, file), mimetype="application/octet-stream", direct_passthrough=True
    )
    response.content_length = info.st_size
    response.last_modified = datetime.fromtimestamp(info.st_mtime, UTC)
    response.set_etag(f"{info.st_ino:x}-{info.st_size:x}-{info.st_mtime_ns:x}")
    response.make_conditional(request.environ, accept_ranges=True, complete_length=info.st_size)
    return response


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
        templates, uploads = (os.open(folder, flags) for folder in (layout.templates, layout.uploads))
        return create_app(templates, uploads, self._options.folder / TICKET_KEY)


class Redacted(logging.Filter):
    """Takes tickets out of whatever gunicorn says about a request."""

    def filter(self, record: logging.LogRecord) -> bool:
        """See logging."""
        record.msg, record.args = re.sub(r"(ticket=)[^&\s\"']+", r"\1[secret]", record.getMessage()), None
        return True


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    def modern(conf: object, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        # For every connection anew, so that a renewed certificate needs no restart.
        context = default()
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return context

    return {
        "bind": options.listen,
        "workers": 1,
        "worker_class": "gthread",
        "threads": THREADS,
        "preload_app": True,
        "timeout": 300,
        "graceful_timeout": _GRACE,
        "keepalive": 15,
        "certfile": str(options.folder / CERTIFICATE),
        "keyfile": str(options.folder / KEY),
        "ssl_context": modern,
        "control_socket_disable": True,
        "worker_tmp_dir": "/dev/shm",  # noqa: S108 (gunicorn's heartbeat belongs in memory)
        "proc_name": "pileus-storage",
        "loglevel": "info",
        **({"user": options.user, "group": options.group} if os.geteuid() == 0 and options.user else {}),
    }


def main(argv: Sequence[str]) -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="storage-server", description=__doc__)
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
