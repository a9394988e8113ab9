"""The one atomic file writer: temporary file beside the target, mode and owner, fsync, rename."""

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
    # The rename itself is only durable once the folder is on disk.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return True


def _is_same(path: Path, data: bytes, mode: int) -> bool:
    try:
        return path.stat().st_mode & 0o7777 == mode and path.read_bytes() == data
    except FileNotFoundError:
        return False
