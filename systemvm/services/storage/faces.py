"""What the storage VM's servers have in common: files sent and taken in, refusals, no ticket told."""

import logging
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import ClientDisconnected
from werkzeug.wsgi import wrap_file

from systemvm.engine.errors import EngineError
from systemvm.engine.ticket import TicketError
from systemvm.services.storage.uploads import Body, UploadCut, UploadExists, UploadRefused, Uploads
from systemvm.spec.ticket import Ticket

#: Seconds that a peer may say nothing, and may leave what it is sent.
STALL = 60.0


@dataclass(frozen=True)
class Folders:
    """Open folders: of ready images, and of uploads."""

    images: int
    uploads: int


class Redacted(logging.Filter):
    """Takes tickets out of whatever is said about a request."""

    def filter(self, record: logging.LogRecord) -> bool:
        """See logging."""
        said = re.sub(r"(ticket=|/downloads/)[^&/\s\"']+", r"\1[secret]", record.getMessage())
        record.msg, record.args = said, None
        return True


def plain_app(folders: Folders) -> Flask:
    """An application that says how it is, and why it refuses."""
    app = Flask("pileus-storage")
    # It writes the path down when something unexpected happens, and a ticket may be in it.
    app.logger.addFilter(Redacted())

    @app.get("/v1/health")
    def health() -> Response:
        """Whether images can be served at all."""
        os.stat(".", dir_fd=folders.images)
        return jsonify(healthy=True)

    @app.errorhandler(UploadRefused)
    @app.errorhandler(TicketError)
    def refused(error: EngineError) -> tuple[Response, int]:
        return jsonify(error={"code": error.code, "message": str(error)}), error.status

    @app.errorhandler(FileNotFoundError)
    def absent(error: FileNotFoundError) -> tuple[Response, int]:
        message = "this template is not ready here: see its status"
        return jsonify(error={"code": "not_found", "message": message}), 404

    return app


def send_image(folders: Folders, name: str) -> Response:
    """A file by what is open, not by path: whole, or the asked part of it (RFC 9110, 14)."""
    handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folders.images)
    file = os.fdopen(handle, "rb")
    info = os.fstat(handle)
    response = Response(
        wrap_file(request.environ, file), mimetype="application/octet-stream", direct_passthrough=True
    )
    response.content_length = info.st_size
    response.last_modified = datetime.fromtimestamp(info.st_mtime, UTC)
    response.set_etag(f"{info.st_ino:x}-{info.st_size:x}-{info.st_mtime_ns:x}")
    response.make_conditional(request.environ, accept_ranges=True, complete_length=info.st_size)
    return response


def take_in(
    folders: Folders, receiver: Uploads, ticket: Ticket, body: Body, length: int | None
) -> tuple[Response, int]:
    """Receive what a good ticket allows. `length` is the body's, if that is known. Raises UploadRefused."""
    name = ticket.subject
    if _exists(name, folders.images):
        raise UploadExists(f"{name} is ready already, and never changes")
    connection = request.environ.get("gunicorn.socket")
    if connection is not None:
        connection.settimeout(STALL)
    digest = request.headers.get("Content-Digest", "")
    try:
        received = receiver.receive(name, body, length=length, limit=ticket.max_bytes, digest=digest)
    except ClientDisconnected:
        raise UploadCut("the sender went away, or said nothing for long: send it again") from None
    return jsonify(msgspec.to_builtins(received)), 201


def length_required() -> tuple[Response, int]:
    """The answer to a body of unknown length, which could go on for ever."""
    return jsonify(error={"code": "length_required", "message": "send a Content-Length"}), 411


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
