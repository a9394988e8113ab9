"""In which boot of this host each VM was last started, and whether that ended: then it did not power off."""

from dataclasses import dataclass
from pathlib import Path

from systemvm.engine.files import write_atomic

#: Another one after each boot of the kernel (random(4)).
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
#: In place of a boot: the cloud on this host was taken down.
_DOWN = b"down\n"


@dataclass(frozen=True)
class Boots:
    """One file per VM in its folder below `folder`, gone with it."""

    folder: Path
    boot_id: Path = BOOT_ID

    def note(self, uuid: str) -> None:
        """The VM starts in this boot. Raises OSError."""
        write_atomic(self._file(uuid), self._now, mode=0o600)

    def take_down(self, uuid: str) -> None:
        """The VM runs and is about to be stopped with all the others. Raises OSError."""
        write_atomic(self._file(uuid), _DOWN, mode=0o600)

    def end_of(self, uuid: str) -> str:
        """What ended the boot in which the VM was last started; empty if that goes on, or nobody knows."""
        try:
            noted = self._file(uuid).read_bytes()
        except FileNotFoundError:
            return ""
        if noted == _DOWN:
            return "the cloud on its host was taken down"
        return "" if noted == self._now else "its host rebooted"

    @property
    def _now(self) -> bytes:
        return self.boot_id.read_bytes()

    def _file(self, uuid: str) -> Path:
        return self.folder / uuid / "boot"
