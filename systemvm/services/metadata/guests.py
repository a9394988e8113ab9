"""What guests may read, from the rendered file: read again, whole, whenever the file is another one."""

import base64
import hashlib
import os
import threading
from pathlib import Path

import msgspec
from msgspec import Struct


class Password(Struct, frozen=True):
    """A password and its identity."""

    id: str
    value: str


class GuestRecord(Struct, frozen=True):
    """One guest's data; `user_data` is base64."""

    user_data: str
    meta_data: dict[str, str]
    password: Password | None

    def listing(self, folder: str) -> list[str]:
        """Names directly below `folder` ("" is the top), folders with a slash behind; empty if none."""
        prefix = f"{folder}/" if folder else ""
        names: dict[str, None] = {}
        for key in self.meta_data:
            if key.startswith(prefix):
                name, slash, _ = key[len(prefix) :].partition("/")
                names[name + slash] = None
        return list(names)

    def raw_user_data(self) -> bytes:
        """User data as the tenant gave it."""
        return base64.b64decode(self.user_data)


class _File(Struct, frozen=True):
    guests: dict[str, GuestRecord]


class Guests:
    """The guests by address; safe for threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._guests: dict[str, GuestRecord] = {}
        self._digest = ""

    def find(self, address: str) -> GuestRecord | None:
        """The guest at this address, as the file says now."""
        with self._lock:
            self._refresh()
            return self._guests.get(address)

    def digest(self) -> str:
        """SHA-256 of the file that is being served."""
        with self._lock:
            self._refresh()
            return self._digest

    def _refresh(self) -> None:
        status = os.stat(self._path)
        seen = (status.st_ino, status.st_mtime_ns, status.st_size)
        if seen == self._seen:
            return
        raw = self._path.read_bytes()
        self._guests = msgspec.json.decode(raw, type=_File).guests
        self._digest, self._seen = hashlib.sha256(raw).hexdigest(), seen
