"""Whether the server answers on each of its addresses, with the data of this document."""

import hashlib
import http.client
import json

from systemvm.engine.service import Doors
from systemvm.services.metadata.render import render, served_addresses
from systemvm.services.metadata.settings import HEALTH_PATH, HTTP_PORT, PASSWORD_PORT
from systemvm.spec.state import State
from systemvm.spec.types import ProbeResult

#: Seconds for one request to this very machine.
ANSWER_SECONDS = 5.0


def probe(state: State, doors: Doors) -> list[ProbeResult]:
    """One result per address and port: an HTTP request, answered with the digest of what it serves."""
    rendering = render(state)
    if not rendering.files:
        return []
    expected = hashlib.sha256(rendering.files[0].text.encode()).hexdigest()
    return [
        _probe_address(str(address.ip), port, expected)
        for address in served_addresses(state)
        for port in (HTTP_PORT, PASSWORD_PORT)
    ]


def _probe_address(address: str, port: int, expected: str) -> ProbeResult:
    name = f"{address}:{port}"
    try:
        digest = _ask(address, port)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return _result(name, False, f"no answer: {error!r}")
    if digest != expected:
        return _result(name, False, "serves the data of another document")
    return _result(name, True, "serves this document's data")


def _ask(address: str, port: int) -> str:
    """The digest that the server tells. Raises OSError, HTTPException or ValueError."""
    connection = http.client.HTTPConnection(address, port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", HEALTH_PATH)
        answer = connection.getresponse()
        body = answer.read(1000)
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise ValueError(f"status {answer.status}")
    return str(json.loads(body)["digest"])


def _result(name: str, healthy: bool, message: str) -> ProbeResult:
    return ProbeResult(service="metadata", name=name, healthy=healthy, message=message)
