"""What a backup says of itself: when, of which software, and the checksum of everything in it."""

import hashlib
from pathlib import Path
from typing import Literal

import msgspec

from mgmt.store.migrate import fingerprint, knows, newest

FORMAT = 1
NAME = "manifest.json"


class BackupRefused(Exception):
    """A backup that cannot be made or taken: why, and what to do."""


class Item(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file in the backup; `sha256` in hexadecimal."""

    name: str
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`revision` is the database's newest migration, `tables` a fingerprint of the tables it leads to.

    `home` is the folder of the cloud it was made of, `created` the moment in UTC (ISO 8601).
    """

    format: int
    created: str
    version: str
    database: Literal["sqlite", "postgresql"]
    revision: str
    tables: str
    home: str
    items: tuple[Item, ...]


def describe(folder: Path) -> tuple[Item, ...]:
    """All files below a folder, with their checksums."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found.append(Item(name=str(path.relative_to(folder)), size=path.stat().st_size, sha256=digest))
    return tuple(found)


def read_manifest(raw: bytes, file: Path) -> Manifest:
    """The manifest of a backup that this software understands. Raises BackupRefused."""
    try:
        number = msgspec.json.decode(raw, type=dict[str, object]).get("format")
        if number != FORMAT:
            raise BackupRefused(
                f"{file} has format {number}, this software reads {FORMAT}: use the one that made it"
            )
        found = msgspec.json.decode(raw, type=Manifest)
    except msgspec.DecodeError as error:
        raise BackupRefused(f"{file} is no backup of Pileus: {error}") from None
    if not knows(found.revision) or (found.revision == newest() and found.tables != fingerprint()):
        raise BackupRefused(
            f"{file} holds tables of schema {found.revision} ({found.tables[:12]}), unknown to this software:"
            f" restore it with version {found.version}, which made it, then update"
        )
    return found
