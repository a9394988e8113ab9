"""Sends a file to the storage VM: by address, to the server that the cloud's own authority knows by name."""

import base64
import hashlib
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from appliance.hostagent.errors import Cancelled, HostError, Refused
from systemvm.spec.host import VolumeCopy

if TYPE_CHECKING:
    import httpx

#: Times that it is tried, seconds between two (doubled each time), seconds without a byte.
ATTEMPTS, BACKOFF, STALL = 5, 1.0, 60.0
_CHUNK = 1 << 20
#: Answers after which another try may do better: busy with the same, too many at a time, cut.
_AGAIN = ("upload_busy", "uploads_full", "upload_cut", "upload_wrong")
_EXISTS = "upload_exists"


class UploadFailed(HostError):
    """The storage VM did not take it."""

    code = "upload_failed"
    status = 502


def sha256_of(path: Path, cancelled: threading.Event) -> str:
    """In hex. Raises Cancelled."""
    digest = hashlib.sha256()
    for chunk in _chunks(path, lambda _sent: None, cancelled):
        digest.update(chunk)
    return digest.hexdigest()


def send(
    copy: VolumeCopy,
    path: Path,
    sha256: str,
    sent: Callable[[int], None],
    cancelled: threading.Event,
    *,
    backoff: float = BACKOFF,
) -> None:
    """PUT `path` to `copy.url`, telling `sent` bytes; one that is there already is fine.

    Raises Refused, UploadFailed, Cancelled.
    """
    _check_address(copy)
    last = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            _pause(backoff * 2 ** (attempt - 1), cancelled)
        last = _try(copy, path, sha256, sent, cancelled)
        if not last:
            return
    raise UploadFailed(f"the storage VM did not take it; gave up after {ATTEMPTS} attempts: {last}")


def _try(
    copy: VolumeCopy, path: Path, sha256: str, sent: Callable[[int], None], cancelled: threading.Event
) -> str:
    """Why it should be tried again; empty when it is there. Raises UploadFailed where that is of no use."""
    # Imported late: it costs an idle agent memory and a part of its start.
    import httpx

    headers = {
        "Content-Length": str(path.stat().st_size),
        "Content-Type": "application/octet-stream",
        "Content-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:",
    }
    context = ssl.create_default_context(cadata=copy.server_ca)
    try:
        with httpx.Client(timeout=STALL, trust_env=False, verify=context) as client:
            answer = client.put(
                copy.url,
                content=_chunks(path, sent, cancelled),
                headers=headers,
                extensions={"sni_hostname": copy.server_name},
            )
    except httpx.HTTPError as error:
        return str(error) or type(error).__name__
    code, message = _words(answer)
    if answer.status_code == 201 or code == _EXISTS:
        return ""
    if code in _AGAIN:
        return message
    raise UploadFailed(f"the storage VM refuses it: {message}")


def _words(answer: "httpx.Response") -> tuple[str, str]:
    try:
        error = answer.json()["error"]
        return str(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError):
        return "", f"it answered with status {answer.status_code}"


def _check_address(copy: VolumeCopy) -> None:
    parts = urlsplit(copy.url)
    try:
        IPv4Address(parts.hostname or "")
    except AddressValueError:
        raise Refused(f"copy {copy.id}: its URL must name the storage VM by address") from None
    if parts.scheme != "https":
        raise Refused(f"copy {copy.id}: copies are sent by https only")


def _chunks(path: Path, sent: Callable[[int], None], cancelled: threading.Event) -> Iterator[bytes]:
    done = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            if cancelled.is_set():
                raise Cancelled(f"sending {path.name} was cancelled")
            yield chunk
            done += len(chunk)
            sent(done)


def _pause(seconds: float, cancelled: threading.Event) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if cancelled.wait(max(end - time.monotonic(), 0.0)):
            raise Cancelled("sending was cancelled")
