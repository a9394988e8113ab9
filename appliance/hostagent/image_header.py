"""Format and size of disk images that are ours or were inspected before (`systemvm.engine.image_header`)."""

import os
import struct
from pathlib import Path

from systemvm.engine.image_header import ImageHeader

_QCOW2_MAGIC = b"QFI\xfb"


def read_backing(path: Path) -> Path | None:
    """The file that an overlay is based on; None for what is no overlay."""
    with path.open("rb") as file:
        head = file.read(32)
        if head[:4] != _QCOW2_MAGIC or len(head) < 32:
            return None
        offset, size = struct.unpack_from(">QI", head, 8)
        file.seek(offset)
        return Path(os.fsdecode(file.read(size))) if offset else None


def read_header(path: Path) -> ImageHeader:
    """Format and virtual size; judges nothing, so that overlays, which have a backing file, can be read."""
    with path.open("rb") as file:
        head = file.read(32)
    if head[:4] != _QCOW2_MAGIC:
        return ImageHeader("raw", path.stat().st_size)
    return ImageHeader("qcow2", struct.unpack_from(">Q", head, 24)[0])
