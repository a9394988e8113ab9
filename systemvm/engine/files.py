"""The one atomic file writer: temporary file beside the target, mode and owner, fsync, rename.

A file that is renamed before it is flushed may be one of zeros after a power failure.
"""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644, owner: str = "", group: str = "") -> bool:
    """Replace `path` by `data`; readers see the old bytes or the new ones, never a part.

    Returns False when content and mode were already so. Creates missing parent folders (0755).
    Raises OSError when the disk is full or the path is not writable; the target is then untouched.
    """
    if _is_same(path, data, mode):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        if owner or group:
            shutil.chown(name, owner or None, group or None)  # type: ignore[arg-type]
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _flush(path.parent)
    return True


def put_in_place(part: Path, path: Path) -> None:
    """Give a file that others wrote its name: it is on the disk, whole, before anybody finds it there."""
    _flush(part)
    os.replace(part, path)
    _flush(path.parent)


def link_in_place(part: Path, path: Path) -> None:
    """As `put_in_place`, unless there is one by that name already, which stays; `part` is gone then too."""
    _flush(part)
    with contextlib.suppress(FileExistsError):
        os.link(part, path)
    part.unlink()
    _flush(path.parent)


def _flush(path: Path) -> None:
    """A file's content; of a folder, the names in it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_same(path: Path, data: bytes, mode: int) -> bool:
    try:
        return path.stat().st_mode & 0o7777 == mode and path.read_bytes() == data
    except FileNotFoundError:
        return False
