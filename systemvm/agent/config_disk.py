"""Who am I: the bootstrap, read once from the ISO9660 disk labelled `PILEUS`."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from systemvm.agent.errors import BootError
from systemvm.agent.iso9660 import NotOnDisk, read_file, read_label
from systemvm.engine.service import Doors
from systemvm.spec import codec
from systemvm.spec.bootstrap import FILE_NAME, VOLUME_LABEL, Bootstrap

#: Seconds to wait for the disk: virtio devices appear while the kernel already runs user space.
PATIENCE = 30.0
_POLL = 0.1


def read_bootstrap(
    doors: Doors, override: str = "", sleep: Callable[[float], None] = time.sleep
) -> Bootstrap:
    """The bootstrap from the file `override` (PILEUS_BOOTSTRAP, for machines without a config disk) or disk.

    Raises BootError when there is none, or when it is not readable.
    """
    raw = Path(override).read_bytes() if override else _read_disk(_await_disk(doors, sleep))
    try:
        return codec.decode(raw, Bootstrap)
    except codec.DocumentError as error:
        raise BootError(f"{FILE_NAME} of the config disk: {error}") from None


def find_config_disk(root: Path) -> Path | None:
    """The block device with our volume label, None if none has it (yet)."""
    for entry in sorted((root / "sys/block").iterdir()):
        device = root / "dev" / entry.name
        with suppress(OSError):  # a drive without a medium, or a node that is not there yet
            if read_label(device) == VOLUME_LABEL:
                return device
    return None


def _await_disk(doors: Doors, sleep: Callable[[float], None]) -> Path:
    deadline = doors.now() + PATIENCE
    while (device := find_config_disk(doors.root)) is None:
        if doors.now() > deadline:
            raise BootError(f"no block device has the volume label {VOLUME_LABEL}; attach the config disk")
        sleep(_POLL)
    return device


def _read_disk(device: Path) -> bytes:
    try:
        return read_file(device, FILE_NAME)
    except NotOnDisk:
        raise BootError(f"{device} is labelled {VOLUME_LABEL} and has no {FILE_NAME}") from None
