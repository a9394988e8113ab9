"""In which boot of this host each VM was last started: what a reboot ended did not power off by itself."""

from dataclasses import dataclass
from pathlib import Path

from systemvm.engine.files import write_atomic

#: Another one after each boot of the kernel (random(4)).
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Boots:
    """One file per VM in its folder below `folder`, gone with it."""

    folder: Path
    boot_id: Path = BOOT_ID

    def note(self, uuid: str) -> None:
        """The VM starts in this boot. Raises OSError."""
        write_atomic(self._file(uuid), self._now, mode=0o600)

    def is_over(self, uuid: str) -> bool:
        """Whether the boot in which the VM was last started is over; False if nobody knows."""
        try:
            return self._file(uuid).read_bytes() != self._now
        except FileNotFoundError:
            return False

    @property
    def _now(self) -> bytes:
        return self.boot_id.read_bytes()

    def _file(self, uuid: str) -> Path:
        return self.folder / uuid / "boot"
