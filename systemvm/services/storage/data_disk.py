"""The data disk: found by serial, formatted once in its life, mounted.

It is formatted only when it carries no signature of anything (blkid(8), low-level probing): a disk with
data on it, whatever data, is never touched.
"""

import os
from pathlib import Path

from systemvm.engine.errors import ApplyFailed, CommandError
from systemvm.engine.service import Doors

SERIAL = "pileus-data"
LABEL = "pileus-data"
#: Seconds; lazy initialisation keeps even large disks well below.
_FORMAT_TIMEOUT = 120.0


def mount(target: Path, doors: Doors) -> None:
    """Mount the data disk at `target` unless something is mounted there. Raises ApplyFailed, CommandError."""
    target.mkdir(parents=True, exist_ok=True)
    if os.path.ismount(target):
        return
    device = find_device(doors)
    if not has_signature(device, doors):
        format_device(device, doors)
    doors.run(("mount", "-t", "ext4", "-o", "noatime,nodev,nosuid,noexec", str(device), str(target)))


def find_device(doors: Doors) -> Path:
    """The disk whose serial number says so. Raises ApplyFailed when there is none."""
    block = doors.root / "sys" / "block"
    for folder in sorted(block.iterdir()) if block.is_dir() else []:
        if _serial(folder) == SERIAL:
            return doors.root / "dev" / folder.name
    raise ApplyFailed(f"there is no disk with serial {SERIAL}: attach one to this storage VM")


def has_signature(device: Path, doors: Doors) -> bool:
    """Whether there is a file system, a partition table or anything else that blkid knows."""
    try:
        doors.run(("blkid", "--probe", str(device)))
    except CommandError as error:
        # 2: nothing was found; 8: several signatures contradict each other, so there is something.
        if error.returncode == 2:
            return False
        if error.returncode != 8:
            raise
    return True


def format_device(device: Path, doors: Doors) -> None:
    """Make the file system. Only for a device without a signature."""
    argv = ("mkfs.ext4", "-q", "-L", LABEL, "-m", "0", str(device))
    doors.run(argv, timeout=_FORMAT_TIMEOUT)


def _serial(folder: Path) -> str:
    try:
        return (folder / "serial").read_text().strip()
    except OSError:
        return ""
