"""`/metrics`, for whoever has the token of `<home>/mgmt/metrics-token`.

It is on the API's own address, so that one listener and one TLS proxy are enough, and it is not public:
how large a cloud is and which of its hosts are down is nobody's business. Prometheus sends the token by
`authorization: {credentials_file: …}`.
"""

import hmac
import os
import secrets
from pathlib import Path

from flask import Blueprint, Response, request
from prometheus_client import CollectorRegistry, GCCollector, Info, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder

from mgmt.metrics.measured import MEASURED
from mgmt.metrics.state import CloudState
from mgmt.store.database import Database

TOKEN_FILE = "metrics-token"  # noqa: S105 (a file's name)
TOKEN_BYTES = 32


def load_token(path: Path) -> str:
    """The token in `path`, made with mode 0600 if there is none yet. Raises OSError, ValueError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        token = path.read_text().strip()
        if len(token) < TOKEN_BYTES:
            raise ValueError(f"{path} holds no token; remove it, and the next start makes one") from None
        return token
    with os.fdopen(descriptor, "w") as file:
        token = secrets.token_urlsafe(TOKEN_BYTES)
        file.write(token + "\n")
    return token


def create_metrics(database: Database, token: str, version: str) -> Blueprint:
    """The page of one management server."""
    pages = Blueprint("metrics", __name__)
    registry = CollectorRegistry()
    for collector in (MEASURED, CloudState(database)):
        registry.register(collector)
    for kind in (ProcessCollector, PlatformCollector, GCCollector):
        kind(registry=registry)
    Info("pileus_build", "Version of the management server", registry=registry).info({"version": version})
    expected = f"Bearer {token}".encode()

    @pages.get("/metrics")
    def metrics() -> Response:
        if not hmac.compare_digest(request.headers.get("Authorization", "").encode(), expected):
            text = f"Send the token of the file {TOKEN_FILE} as 'Authorization: Bearer …'\n"
            return Response(text, 401, {"WWW-Authenticate": "Bearer"}, content_type="text/plain")
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return Response(encode(registry), content_type=content_type, headers={"Cache-Control": "no-store"})

    return pages
