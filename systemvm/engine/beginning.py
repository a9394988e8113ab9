"""The beginning of a download: how much of the file may be gone on with, also after the power failed.

A file system may know how long a file is before it has what is in it: after a power failure the end of such
a file reads as zeros (ext4 with delayed allocation does so). What was not flushed counts only as long as the
machine has not been started anew.
"""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec

#: Another one after each start of the kernel (proc_sys_kernel(5)).
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
#: A download is flushed after so many bytes, or seconds: what a power failure takes at most.
FLUSH_BYTES, FLUSH_SECONDS = 64 << 20, 5.0


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What the server called the file that its first bytes are of; how many were flushed, in which boot."""

    validator: str = ""
    boot: str = ""
    flushed: int = 0


@dataclass
class Beginning:
    """What is here of `target`; beside it lies its `Origin`."""

    target: Path
    boot_id: Path = BOOT_ID
    _flushed: int = 0
    _when: float = field(default_factory=time.monotonic)

    def length(self) -> int:
        """So many bytes are as they were received."""
        if not self.target.exists():
            return 0
        size, origin = self.target.stat().st_size, self._origin()
        return size if origin.boot == self._boot() else min(size, origin.flushed)

    def validator(self) -> str:
        """What the server called the file (RFC 9110, 8.8); empty if it may not be gone on with."""
        return self._origin().validator

    def start(self, validator: str) -> None:
        """The file is written from its first byte on."""
        self._note(Origin(validator=validator, boot=self._boot()))

    def flush(self, file: BinaryIO) -> None:
        """What was written to the file stays, whatever happens."""
        file.flush()
        os.fsync(file.fileno())
        self._flushed, self._when = file.tell(), time.monotonic()
        self._note(Origin(validator=self.validator(), boot=self._boot(), flushed=self._flushed))

    def flush_now_and_then(self, file: BinaryIO, length: int) -> None:
        """`flush`, if much was written or some time has passed; `length` is the file's."""
        if length - self._flushed >= FLUSH_BYTES or time.monotonic() - self._when >= FLUSH_SECONDS:
            self.flush(file)

    def forget(self) -> None:
        """The file is whole, or nothing of it is of use."""
        self._path().unlink(missing_ok=True)

    def _origin(self) -> Origin:
        try:
            return msgspec.json.decode(self._path().read_bytes(), type=Origin)
        except (FileNotFoundError, msgspec.MsgspecError):
            return Origin()

    def _note(self, origin: Origin) -> None:
        # Nothing is lost with a note that is lost: then less counts as flushed.
        new = self._path().with_name(f"{self._path().name}.new")
        new.write_bytes(msgspec.json.encode(origin))
        os.replace(new, self._path())

    def _boot(self) -> str:
        return self.boot_id.read_text().strip()

    def _path(self) -> Path:
        return self.target.with_name(f"{self.target.name}.origin")
