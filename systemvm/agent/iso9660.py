"""Reading one file of a small ISO9660 disk without mounting it.

mount(8), umount(8) and the kernel's module cost two seconds of an emulated processor before the agent can
even start, a fifth of its way to the first answer; this costs none. Only what config disks have is
understood: a root folder, Rock Ridge names. (pycdlib reads everything, and takes as long to import.)

Numbers are offsets and lengths in bytes of ECMA-119, sections 6.2.1 (sectors), 8.4 (volume descriptor),
9.1 (directory records), and of the Rock Ridge Interchange Protocol, section 4.1.4 (NM).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SECTOR = 2048
_DESCRIPTOR = 16 * _SECTOR
_SIGNATURE = b"\x01CD001"
_LABEL = slice(40, 72)
_ROOT_RECORD = slice(156, 190)
_IDENTIFIER = 33


class NotOnDisk(FileNotFoundError):
    """The disk has no such file."""


@dataclass(frozen=True)
class Extent:
    """Where the bytes of a file or folder are."""

    start: int
    length: int


def read_label(device: Path) -> str | None:
    """Label of an ISO9660 volume, None for anything else. Raises OSError."""
    descriptor = _read(device, Extent(_DESCRIPTOR, _SECTOR))
    if not descriptor.startswith(_SIGNATURE):
        return None
    return descriptor[_LABEL].decode("ascii", errors="replace").strip()


def read_file(device: Path, name: str) -> bytes:
    """A file of the volume's root folder. Raises NotOnDisk, OSError."""
    descriptor = _read(device, Extent(_DESCRIPTOR, _SECTOR))
    folder = _read(device, _extent(descriptor[_ROOT_RECORD]))
    for record in _records(folder):
        if _name(record) == name:
            return _read(device, _extent(record))
    raise NotOnDisk(f"{device} has no file {name}")


def _records(folder: bytes) -> Iterator[bytes]:
    offset = 0
    while offset < len(folder):
        length = folder[offset]
        if length == 0:  # records do not cross sectors: the rest of this one is empty
            offset = (offset // _SECTOR + 1) * _SECTOR
            continue
        yield folder[offset : offset + length]
        offset += length


def _name(record: bytes) -> str:
    """The Rock Ridge name of a record, empty if it has none."""
    length = record[_IDENTIFIER - 1]
    # Behind the identifier, padded to an even offset, are fields: signature, length, version, data.
    offset = _IDENTIFIER + length + (length + 1) % 2
    while offset + 4 <= len(record) and record[offset + 2] >= 4:
        field = record[offset : offset + record[offset + 2]]
        if field.startswith(b"NM"):
            return field[5:].decode(errors="replace")
        offset += len(field)
    return ""


def _extent(record: bytes) -> Extent:
    sector, length = struct.unpack_from("<I4xI", record, 2)
    return Extent(sector * _SECTOR, length)


def _read(device: Path, extent: Extent) -> bytes:
    with device.open("rb") as file:
        file.seek(extent.start)
        return file.read(extent.length)
