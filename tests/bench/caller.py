"""Somebody's signed calls, as a client program makes them."""

from dataclasses import dataclass
from typing import Any

import httpx

from mgmt.api.testing import sign

#: Seconds that an idle connection is used again; the server closes it after two.
IDLE = 1.0


@dataclass(frozen=True)
class Caller:
    """Somebody's signed calls; several threads may share them."""

    http: httpx.Client
    key: str
    secret: str

    def send(self, command: str, **parameters: object) -> dict[str, Any]:
        """The body of an answer; empty for a call that is refused, as for ids that must be named."""
        sent = {name: str(value) for name, value in parameters.items()}
        sent |= {"command": command, "response": "json", "apiKey": self.key}
        sent["signature"] = sign(sent, self.secret)
        answer = self.http.post("/client/api", data=sent)
        body: dict[str, Any] = next(iter(answer.json().values()))
        return body if answer.is_success else {}


def client(port: int) -> httpx.Client:
    """Connections to a server on loopback."""
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=IDLE)
    return httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=120, limits=limits)
