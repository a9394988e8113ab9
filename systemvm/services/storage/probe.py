"""Is the data disk there and writable, do transfers move, does the server answer?"""

import http.client
import os
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path

from systemvm.engine.certificates import der_of, seconds_left
from systemvm.engine.service import Doors
from systemvm.services.storage.render import TRANSFER
from systemvm.services.storage.settings import DATA, HEARTBEAT, HOSTS, PUBLIC, Face, faces_of
from systemvm.spec.state import State
from systemvm.spec.types import ProbeResult

_TIMEOUT = 5.0
#: Seconds after which a transfer process that shows no sign counts as dead; it beats every two.
STALE = 15.0
_NO_IMAGE = "00000000-0000-0000-0000-000000000000"
#: What each server must refuse: an image without a ticket, and with a bad one.
_REFUSED = {HOSTS: f"/v1/templates/{_NO_IMAGE}", PUBLIC: f"/v1/downloads/none/{_NO_IMAGE}.raw"}


class _Unhealthy(Exception):
    """What a probe found, in words."""


def probe(state: State, doors: Doors) -> list[ProbeResult]:
    """See systemvm.engine.service. A template that failed is its owner's business, not ours."""
    storage = state.storage
    if storage is None:
        return []
    checks: dict[str, Callable[[], str]] = {
        "disk": lambda: _probe_disk(doors.state_dir / DATA),
        "transfer": lambda: _probe_transfer(doors),
    }
    for face in faces_of(storage):
        name = "server" if face.name == HOSTS else face.name
        checks[name] = lambda face=face: _probe_server(face, storage.certificate, doors)  # type: ignore[misc]
    return [_run(name, check) for name, check in checks.items()]


def _run(name: str, check: Callable[[], str]) -> ProbeResult:
    try:
        return ProbeResult(service="storage", name=name, healthy=True, message=check())
    except (OSError, http.client.HTTPException, _Unhealthy) as error:
        return ProbeResult(service="storage", name=name, healthy=False, message=str(error))


def _probe_disk(data: Path) -> str:
    if not os.path.ismount(data):
        raise _Unhealthy(f"the data disk is not mounted at {data}")
    room = os.statvfs(data)
    free = room.f_bavail * room.f_frsize // 2**20
    try:
        with tempfile.TemporaryFile(dir=data) as file:
            file.write(b"x")
            file.flush()
    except OSError as error:
        # A full disk is the operator's to empty; rolling this document back would not help.
        if free > 0:
            raise _Unhealthy(f"the data disk cannot be written: {error.strerror}") from None
        return "the data disk is full: delete templates"
    return f"the data disk is mounted and writable, {free} MiB are free"


def _probe_transfer(doors: Doors) -> str:
    if not doors.daemons.is_running(TRANSFER.name):
        said = "; ".join(doors.daemons.logs(TRANSFER.name, 5)) or "nothing"
        raise _Unhealthy(f"the transfer process does not run; it said: {said}")
    try:
        age = doors.now() - (doors.run_dir / HEARTBEAT).stat().st_mtime
    except FileNotFoundError:
        raise _Unhealthy("the transfer process runs, but has not shown a sign of life yet") from None
    if age > STALE:
        raise _Unhealthy(f"the transfer process has shown no sign of life for {age:.0f} s")
    return f"the transfer process showed a sign of life {max(age, 0):.0f} s ago"


def _probe_server(face: Face, certificate: str, doors: Doors) -> str:
    """The right certificate, health, and no image without a ticket."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Not verified against an authority: the certificate must be the document's own, byte for byte.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    connection = http.client.HTTPSConnection(face.address, face.port, timeout=_TIMEOUT, context=context)
    try:
        connection.connect()
        if connection.sock.getpeercert(binary_form=True) != der_of(certificate):
            raise _Unhealthy("the server shows another certificate than the document's")
        for path, wanted in (("/v1/health", 200), (_REFUSED[face.name], 400)):
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            if answer.status != wanted:
                raise _Unhealthy(f"GET {path} is answered with {answer.status}, expected {wanted}")
    except ConnectionRefusedError:
        said = "; ".join(doors.daemons.logs(face.daemon, 5)) or "nothing"
        raise _Unhealthy(f"the server does not listen; it said: {said}") from None
    finally:
        connection.close()
    days = seconds_left(certificate, doors.now()) / 86400
    if days < 0:
        raise _Unhealthy(f"the certificate expired {-days:.0f} days ago")
    return f"the server answers; its certificate is good for {days:.0f} days"
