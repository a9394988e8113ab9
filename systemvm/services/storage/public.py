"""What the storage VM does for users outside, who can hand a URL to any program.

`GET /v1/downloads/<ticket>/<id>.<format>`: an image, whole or by Range. The ticket is in the path, so that
the URL alone is enough; nothing here writes a path down.

`POST /upload/<id>`: an image as the file of a form, as browsers send it, or as the body itself (`PUT` too),
with `Content-Length`. The ticket comes in two halves as `X-metadata` and `X-signature`, beside `X-expires`,
which repeats when it ends. A page of any origin may send: what counts is the ticket, not who the browser is.
"""

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from uuid import UUID

from flask import Flask, Response, request

from systemvm.engine.ticket import TicketMalformed, verify
from systemvm.services.storage.faces import Folders, length_required, plain_app, send_image, take_in
from systemvm.services.storage.multipart import FormFile
from systemvm.services.storage.uploads import UploadRefused, Uploads, UploadTooLarge
from systemvm.spec.ticket import Ticket, TicketPurpose

METADATA, SIGNATURE, EXPIRES = "X-metadata", "X-signature", "X-expires"
#: Bytes that a form may have around its file.
_AROUND = 1 << 20
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, PUT, OPTIONS",
    "Access-Control-Allow-Headers": f"{METADATA}, {SIGNATURE}, {EXPIRES}, Content-Type, Content-Digest",
    "Access-Control-Max-Age": "600",
}


def create_public_app(folders: Folders, ticket_key: Path, now: Callable[[], float] = time.time) -> Flask:
    """The application for users outside."""
    app, receiver = plain_app(folders), Uploads(folders.uploads)

    @app.get("/v1/downloads/<token>/<uuid:image>.<any(qcow2, raw, iso):suffix>")
    def download(token: str, image: UUID, suffix: str) -> Response:
        """A ready image, as a file to keep."""
        name = str(image)
        verify(token, ticket_key.read_text(), TicketPurpose.download, now(), subject=name)
        response = send_image(folders, name)
        response.headers["Content-Disposition"] = f'attachment; filename="{name}.{suffix}"'
        response.headers["Cache-Control"] = "private, no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    @app.route("/upload/<uuid:upload>", methods=["POST", "PUT"])
    def receive(upload: UUID) -> tuple[Response, int]:
        """Take an image in."""
        ticket = _ticket(str(upload), ticket_key.read_text(), now())
        if request.content_length is None:
            return length_required()
        if request.mimetype != "multipart/form-data":
            return take_in(folders, receiver, ticket, request.stream, request.content_length)
        boundary = request.mimetype_params.get("boundary", "")
        if not boundary:
            raise UploadRefused("the form's Content-Type names no boundary")
        if request.content_length > ticket.max_bytes + _AROUND:
            raise UploadTooLarge(f"the ticket allows {ticket.max_bytes} bytes")
        return take_in(folders, receiver, ticket, FormFile(request.stream, boundary.encode()), None)

    @app.after_request
    def allow_pages(response: Response) -> Response:
        """For pages of the management server, which is another origin."""
        if request.path.startswith("/upload/"):
            response.headers.update(_CORS)
        return response

    return app


def _ticket(name: str, key: str, now: float) -> Ticket:
    """The ticket of an upload. Raises TicketError."""
    token = f"{request.headers.get(METADATA, '')}.{request.headers.get(SIGNATURE, '')}"
    ticket = verify(token, key, TicketPurpose.upload, now, subject=name)
    try:
        told = datetime.fromisoformat(request.headers.get(EXPIRES, "")).timestamp()
    except (ValueError, OverflowError):
        told = 0.0
    if int(told) != ticket.expires:
        raise TicketMalformed(f"{EXPIRES} is not when the ticket ends: send it as it was given to you")
    return ticket
