"""Receives images that are sent to the storage VM: snapshots by hosts, templates and volumes by people.

How to have one uploaded, whoever sends it:

1. List it in the storage VM's document: a `TemplateSource` with neither `url` nor `copy_of`, with its
   format, its `checksum` if known, and `max_bytes`. Put that document first: what is not listed is removed.
2. Sign a ticket: purpose `upload`, `subject` the same id, `max_bytes` the longest body, `expires`.
3. `PUT` (or `POST`) the file as the body of `https://address:port/v1/uploads/<id>`, with `Content-Length`
   and the ticket as `?ticket=…` or `Authorization: Bearer …`. `Content-Digest: sha-256=:<base64>:` (RFC 9530)
   is checked if it is sent. The answer is 201 with `id`, `size` and `sha256`; else `error`: 400 (cut, no
   ticket), 403 (ticket), 404 (not listed), 409 `upload_busy` or `upload_exists`, 411, 413, 422 (digest),
   503 (try again), 507 (full).
4. The transfer process then judges it as a download is judged: `GET /v1/storage/templates` says `checking`,
   then `ready` or `failed` with the reason. Hosts pull it from `/v1/templates/<id>`, whatever it is.
   What failed may be uploaded again; what is ready never changes.

A body is written to `uploads/<id>.part` and becomes `uploads/<id>` when it is whole, so nothing is left of
one that was cut. The folder belongs to the unprivileged worker, who reaches no other.
"""

import base64
import binascii
import contextlib
import errno
import hashlib
import os
import re
import threading
from collections.abc import Iterator
from typing import Protocol

from msgspec import Struct

from systemvm.engine.errors import EngineError
from systemvm.services.storage.settings import leave_reserve

#: Uploads at a time: the other threads are for hosts that pull.
MOST = 6
PART = ".part"
_CHUNK = 1 << 20
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/=]+):")


class UploadRefused(EngineError):
    """Root of all refusals of an upload."""

    code = "upload_refused"
    status = 400


class UploadCut(UploadRefused):
    """It ended before it was whole."""

    code = "upload_cut"


class UploadUnwanted(UploadRefused):
    """It is listed no longer."""

    code = "upload_unwanted"
    status = 404


class UploadBusy(UploadRefused):
    """The same is being uploaded."""

    code = "upload_busy"
    status = 409


class UploadExists(UploadRefused):
    """It is ready already."""

    code = "upload_exists"
    status = 409


class UploadTooLarge(UploadRefused):
    """The ticket allows less."""

    code = "upload_too_large"
    status = 413


class UploadWrong(UploadRefused):
    """What arrived is not what was announced."""

    code = "upload_wrong"
    status = 422


class UploadsFull(UploadRefused):
    """Too many at a time."""

    code = "uploads_full"
    status = 503


class NoRoom(UploadRefused):
    """The data disk is full."""

    code = "no_room"
    status = 507


class Body(Protocol):
    """What a request's body is read from."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; none at its end."""


class Received(Struct, frozen=True, kw_only=True):
    """What arrived; `size` in bytes, `sha256` in hex."""

    id: str
    size: int
    sha256: str


class Uploads:
    """Uploads into the open folder `folder`; one of an id at a time, as there is one worker process."""

    def __init__(self, folder: int) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._busy: set[str] = set()

    def receive(self, name: str, body: Body, *, length: int | None, limit: int, digest: str = "") -> Received:
        """Take `length` bytes (None: all until the end), at most `limit`, in as `name`.

        `digest` is a Content-Digest, or nothing.

        Raises UploadRefused; nothing of it is left then.
        """
        expected = _expected(digest)
        if length is not None and length > limit:
            raise UploadTooLarge(f"it has {length} bytes; the ticket allows {limit}")
        with self._alone(name):
            try:
                size, sha256 = self._write(name, body, length, limit)
                if expected and sha256 != expected:
                    raise UploadWrong(f"its SHA-256 is {sha256}, announced was {expected}: send it again")
                self._complete(name)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{name}{PART}", dir_fd=self._folder)
                raise
        return Received(id=name, size=size, sha256=sha256)

    def _complete(self, name: str) -> None:
        try:
            os.rename(f"{name}{PART}", name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except FileNotFoundError:
            raise UploadUnwanted(f"{name} was taken off the list while it was being sent") from None
        os.fsync(self._folder)

    @contextlib.contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        with self._lock:
            if name in self._busy:
                raise UploadBusy(f"{name} is being uploaded: wait for the end of that")
            if len(self._busy) >= MOST:
                raise UploadsFull(f"{MOST} uploads are under way: try again in a moment")
            self._busy.add(name)
        try:
            yield
        finally:
            with self._lock:
                self._busy.discard(name)

    def _write(self, name: str, body: Body, length: int | None, limit: int) -> tuple[int, str]:
        """How much was written, and its SHA-256."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(f"{name}{PART}", flags, 0o600, dir_fd=self._folder)
        digest, left = hashlib.sha256(), limit + 1 if length is None else length
        try:
            with os.fdopen(handle, "wb") as file:
                while left and (chunk := body.read(min(left, _CHUNK))):
                    leave_reserve(self._folder)
                    file.write(chunk)
                    digest.update(chunk)
                    left -= len(chunk)
                # Who sent it is told that it is here, and forgets it.
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise NoRoom("the storage VM's data disk has no room for it") from None
        if length is None:
            length = limit + 1 - left
            if length > limit:
                raise UploadTooLarge(f"it has more than the {limit} bytes that the ticket allows")
        elif left:
            raise UploadCut(f"it ended {left} bytes early, of {length}: send it again")
        return length, digest.hexdigest()


def _expected(digest: str) -> str:
    """The SHA-256, in hex, of a Content-Digest header. Raises UploadRefused for one without it."""
    if not digest:
        return ""
    found = _DIGEST.search(digest)
    try:
        raw = base64.b64decode(found[1], validate=True) if found else b""
    except binascii.Error:
        raw = b""
    if len(raw) != 32:
        raise UploadRefused("Content-Digest must be sha-256=:<base64 of 32 bytes>: (RFC 9530)")
    return raw.hex()
