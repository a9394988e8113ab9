"""`python -m images.builder.ext4 IMAGE EPOCH`: inode times that mke2fs 1.47.0 takes from the build machine.

`mke2fs -d` copies modification times from the tree, and ctime and atime from files just unpacked here.
"""

import sys
import tempfile
from pathlib import Path

from systemvm.engine.command import run

_TIMEOUT = 300.0
_ROOT_INODE, _FIRST_INODE = 2, 11


def set_times(image: Path, epoch: int) -> None:
    """Set ctime and atime of every used inode of an unmounted ext4 image to `epoch`."""
    used = _last_used_inode(image)
    inodes = (_ROOT_INODE, *range(_FIRST_INODE, used + 1))
    commands = "".join(f"sif <{i}> ctime @{epoch}\nsif <{i}> atime @{epoch}\n" for i in inodes)
    with tempfile.NamedTemporaryFile("w", suffix=".debugfs") as script:
        script.write(commands)
        script.flush()
        run(("debugfs", "-w", "-f", script.name, str(image)), timeout=_TIMEOUT)


def _last_used_inode(image: Path) -> int:
    """mke2fs numbers inodes without gaps, so the count of used ones is the last one."""
    fields = {}
    for line in run(("dumpe2fs", "-h", str(image)), timeout=_TIMEOUT).stdout.splitlines():
        key, _, value = line.partition(":")
        fields[key] = value.strip()
    return int(fields["Inode count"]) - int(fields["Free inodes"])


if __name__ == "__main__":
    set_times(Path(sys.argv[1]), int(sys.argv[2]))
