"""The web application that guests see.

Paths are those of EC2's instance metadata, which CloudStack copies and cloud-init's CloudStack source
asks for: `/latest/user-data`, `/latest/meta-data/`, `/latest/meta-data/<key>`; any version stands for
`latest`. On port 8080 it is CloudStack's password server: a header `DomU_Request` and a word back.

Who asks is decided by the address of the connection and by nothing in the request.
"""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from flask import Flask, Response, abort, jsonify, request

from systemvm.services.metadata.guests import GuestRecord, Guests
from systemvm.services.metadata.settings import HEALTH_PATH, PASSWORD_PORT

if TYPE_CHECKING:
    from systemvm.services.metadata.passwords import TakenPasswords

_VERSION = re.compile(r"latest|[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]+\.[0-9]+")
_SAVED, _BAD = "saved_password", "bad_request"


def create_app(guests: Guests, open_passwords: "Callable[[], TakenPasswords]") -> Flask:
    """The application; the database is opened by the first who asks for a password."""
    app = Flask("pileus-metadata", static_folder=None)
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False

    @app.get("/", defaults={"path": ""})
    @app.get("/<path:path>")
    def read(path: str) -> Response:
        guest = guests.find(request.remote_addr or "")
        if request.environ["SERVER_PORT"] == str(PASSWORD_PORT):
            return _password(guest, open_passwords)
        if guest is None:
            abort(404)
        return _read(guest, path.rstrip("/"))

    @app.get(HEALTH_PATH)
    def health() -> Response:
        # The address that was asked is the address that asks: this very machine.
        if request.remote_addr != request.environ["SERVER_NAME"]:
            abort(404)
        return jsonify(digest=guests.digest())

    @app.errorhandler(404)
    def absent(error: Exception) -> tuple[Response, int]:
        """The same words for a guest without data and for a path that is not."""
        return _text("not found\n"), 404

    return app


def _read(guest: GuestRecord, path: str) -> Response:
    first, _, rest = path.partition("/")
    if _VERSION.fullmatch(first):
        path = rest
    elif not path:
        return _text("latest\n")
    if not path:
        return _text("meta-data/\nuser-data\n")
    if path == "user-data":
        return Response(guest.raw_user_data(), mimetype="application/octet-stream")
    if path == "meta-data":
        return _text("\n".join(guest.listing("")))
    # CloudStack answers for keys with and without `meta-data/` before them.
    return _value(guest, path.removeprefix("meta-data/"))


def _value(guest: GuestRecord, key: str) -> Response:
    if key in guest.meta_data:
        return _text(guest.meta_data[key])
    names = guest.listing(key)
    if not names:
        abort(404)
    return _text("\n".join(names))


def _password(guest: GuestRecord | None, open_passwords: "Callable[[], TakenPasswords]") -> Response:
    """`send_my_password` gives it, again and again, until the guest says `saved_password`."""
    asked = request.headers.get("DomU_Request", "")
    if guest is None:
        abort(404)
    if asked not in ("send_my_password", "saved_password"):
        response = _text(_BAD)
        response.status_code = 400
        return response
    password = guest.password
    if password is None or open_passwords().is_taken(password.id):
        return _text(_SAVED)
    if asked == "send_my_password":
        return _text(password.value)
    open_passwords().take(password.id, request.remote_addr or "")
    return _text(_SAVED)


def _text(text: str) -> Response:
    response = Response(text, mimetype="text/plain")
    response.headers["Cache-Control"] = "no-store"
    return response
