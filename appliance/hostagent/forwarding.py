"""IPv4 forwarding for guests' sake, interface by interface: who is no router stays none for everybody else.

`net.ipv4.ip_forward` is the operator's and is only read. The kernel asks the setting of the interface by
which a packet came in (linux/inetdevice.h: IN_DEV_FORWARD), so two interfaces are enough.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import msgspec

from appliance.hostagent.errors import Refused
from systemvm.engine.files import write_atomic


class _Record(msgspec.Struct, frozen=True):
    """Interfaces that we switched on, in the boot with this id: the next one begins with none."""

    boot: str
    interfaces: list[str]


@dataclass(frozen=True)
class Forwarding:
    """`record` remembers what we switched on while it is on; `sysctls` is /proc/sys."""

    record: Path
    sysctls: Path = Path("/proc/sys")

    @property
    def is_router(self) -> bool:
        """Whether the operator lets this machine route between all its interfaces."""
        return (self.sysctls / "net/ipv4/ip_forward").read_text().strip() == "1"

    def open_only(self, names: Collection[str]) -> None:
        """What comes in by these interfaces may be routed; what we opened before and is not named, may not.

        Raises Refused when the kernel's settings cannot be written.
        """
        ours = self._read()
        for name in ours - set(names):
            self._close(name)
        closed = {name for name in names if self._setting(name).read_text().strip() == "0"}
        ours = (ours & set(names)) | closed
        # Remembered first: what is written and not remembered would stay for ever.
        self._write(ours)
        for name in sorted(closed):
            self._set(name, "1")

    def _close(self, name: str) -> None:
        # It may be gone; and an operator who made the machine a router since then means this one, too.
        if self._setting(name).exists() and not self.is_router:
            self._set(name, "0")

    def _set(self, name: str, value: str) -> None:
        try:
            self._setting(name).write_text(value)
        except OSError as error:
            setting = f"net.ipv4.conf.{name}.forwarding"
            raise Refused(f"{setting} cannot be set to {value}: {error.strerror}") from None

    def _setting(self, name: str) -> Path:
        return self.sysctls / "net/ipv4/conf" / name / "forwarding"

    @property
    def _boot(self) -> str:
        return (self.sysctls / "kernel/random/boot_id").read_text().strip()

    def _read(self) -> set[str]:
        try:
            record = msgspec.json.decode(self.record.read_bytes(), type=_Record)
        except FileNotFoundError:
            return set()
        return set(record.interfaces) if record.boot == self._boot else set()

    def _write(self, names: Collection[str]) -> None:
        if names:
            write_atomic(self.record, msgspec.json.encode(_Record(self._boot, sorted(names))), mode=0o600)
        else:
            self.record.unlink(missing_ok=True)
