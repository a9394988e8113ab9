"""Disk images from outside, judged by their header before any other program opens them.

An image is what its first bytes say, and it must be what was declared. A qcow2 image may not reach
outside itself: no backing file, no data file, no encryption, nothing unknown. Layout: QEMU's
docs/interop/qcow2.rst; integers are big-endian.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

from systemvm.engine.errors import EngineError

_QCOW2 = b"QFI\xfb"
#: First bytes of what is neither qcow2 nor a plain disk, at an offset, and what to call it.
_FOREIGN: tuple[tuple[int, bytes, str], ...] = (
    (0, b"KDMV", "a VMDK image"),
    (0, b"# Disk DescriptorFile", "a VMDK descriptor"),
    (0, b"vhdxfile", "a VHDX image"),
    (0, b"conectix", "a VHD image"),
    (0, b"QED\0", "a QED image"),
    (64, b"\x7f\x10\xda\xbe", "a VDI image"),
    (0, b"LUKS\xba\xbe", "an encrypted disk (LUKS)"),
    (0, b"WithoutFreeSpace", "a Parallels image"),
    (0, b"WithouFreSpacExt", "a Parallels image"),
    (0, b"OOOM", "a bochs image"),
    (0, b"\x1f\x8b", "compressed with gzip"),
    (0, b"BZh", "compressed with bzip2"),
    (0, b"\xfd7zXZ\0", "compressed with xz"),
    (0, b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    (0, b"PK\x03\x04", "a zip archive"),
    (257, b"ustar", "a tar archive (perhaps OVA)"),
)
#: Every CD begins its first volume descriptor, in sector 16 of 2048 bytes, with a type and these (ECMA-119).
_ISO, _ISO_AT = b"CD001", 16 * 2048 + 1
_WEB_PAGE = (b"<!doctype", b"<html", b"<?xml")
_INTERNAL_FEATURES = 0b11011  # dirty, corrupt, compression type, extended L2; bit 2 is the external data file
_EXTERNAL_DATA, _CORRUPT = 1 << 2, 1 << 1
_EXTENSION_END, _EXTENSION_DATA_FILE, _EXTENSION_BACKING = 0, 0x44415441, 0xE2792ACA
#: Bytes that hold every header and every extension that QEMU writes; clusters are up to 2 MiB.
_HEAD = 64 * 1024


class ImageRefused(EngineError):
    """An image is not what it should be, or not safe; the message says why and what to do."""

    code = "image_refused"
    status = 422


@dataclass(frozen=True)
class ImageHeader:
    """`format` is `qcow2` or `raw`; `virtual_size` is what a guest sees, in bytes."""

    format: str
    virtual_size: int


def inspect_image(path: Path, declared: str, max_bytes: int) -> ImageHeader:
    """The header of an image that was declared as `declared`. Raises ImageRefused, OSError.

    `max_bytes` bounds what a guest would see.
    """
    length = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEAD)
        file.seek(max(0, length - 512))
        foot = file.read(512)
    actual = _name(head, foot)
    if declared == "iso" and actual == "raw":
        actual = "iso" if head[_ISO_AT : _ISO_AT + len(_ISO)] == _ISO else "no CD (ISO 9660)"
    if actual != declared:
        words = {"qcow2": "a qcow2 image", "raw": "no qcow2 image"}.get(actual, actual)
        raise ImageRefused(f"declared as {declared}, but it is {words}: convert it, or declare what it is")
    header = _read_qcow2(head, length) if declared == "qcow2" else ImageHeader("raw", length)
    if header.virtual_size > max_bytes:
        raise ImageRefused(f"its disk has {header.virtual_size} bytes; at most {max_bytes} are allowed")
    if header.virtual_size == 0:
        raise ImageRefused("its disk is empty")
    return header


def _name(head: bytes, foot: bytes) -> str:
    if head.startswith(_QCOW2):
        return "qcow2"
    for offset, magic, name in _FOREIGN:
        if head[offset : offset + len(magic)] == magic:
            return name
    if foot.startswith(b"conectix"):
        return "a VHD image"
    if head[:256].lstrip().lower().startswith(_WEB_PAGE):
        return "a web page"
    return "raw"


def _read_qcow2(head: bytes, length: int) -> ImageHeader:
    if len(head) < 72:
        raise ImageRefused("it ends within its qcow2 header")
    version, backing, _, cluster_bits, size, crypt, l1_size, l1_offset = struct.unpack_from(
        ">IQIIQIIQ", head, 4
    )
    if version not in (2, 3):
        raise ImageRefused(f"it is qcow2 version {version}; versions 2 and 3 are taken")
    if backing:
        raise ImageRefused("it names a backing file: flatten it with qemu-img convert")
    if crypt:
        raise ImageRefused(f"it is encrypted (method {crypt}): decrypt it with qemu-img convert")
    if not 9 <= cluster_bits <= 21:
        raise ImageRefused(f"its clusters of 2^{cluster_bits} bytes are outside 2^9 to 2^21")
    if l1_offset % (1 << cluster_bits) or l1_offset + l1_size * 8 > length:
        raise ImageRefused("its mapping table lies outside the file: it was cut, download it again")
    if version == 3:
        _check_version_3(head)
    _check_extensions(head, 72 if version == 2 else struct.unpack_from(">I", head, 100)[0])
    return ImageHeader("qcow2", size)


def _check_version_3(head: bytes) -> None:
    if len(head) < 104:
        raise ImageRefused("it ends within its qcow2 header")
    features, refcount_order, header_length = (
        struct.unpack_from(">Q", head, 72)[0],
        *struct.unpack_from(">II", head, 96),
    )
    if features & _EXTERNAL_DATA:
        raise ImageRefused("it keeps its data in another file: flatten it with qemu-img convert")
    if features & _CORRUPT:
        raise ImageRefused("it is marked as corrupt: repair it with qemu-img check -r all")
    if features & ~_INTERNAL_FEATURES:
        raise ImageRefused(f"it needs qcow2 features that are unknown here ({features:#x})")
    if refcount_order > 6 or not 104 <= header_length <= 4096:
        raise ImageRefused("its qcow2 header makes no sense")


def _check_extensions(head: bytes, offset: int) -> None:
    while offset + 8 <= len(head):
        kind, length = struct.unpack_from(">II", head, offset)
        if kind == _EXTENSION_END:
            return
        if kind == _EXTENSION_DATA_FILE:
            raise ImageRefused("it names an external data file: flatten it with qemu-img convert")
        if kind == _EXTENSION_BACKING:
            raise ImageRefused("it names the format of a backing file: flatten it with qemu-img convert")
        offset += 8 + (length + 7) // 8 * 8
    raise ImageRefused("the extensions of its qcow2 header have no end")
