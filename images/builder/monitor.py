"""QEMU's human monitor: keys for a machine, its power button, its screen as pixels."""

import re
import socket
import time
from pathlib import Path

from images.builder.errors import BootError

_PROMPT = b"(qemu) "
_ANSWER_SECONDS = 30.0
_CHUNK = 4096
_POLL = 0.05


class Monitor:
    """The monitor of one QEMU process that was started with `Monitor.arguments(path)`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @staticmethod
    def arguments(path: Path) -> tuple[str, ...]:
        """QEMU's arguments for a VGA screen and a monitor on the unix socket `path`."""
        return ("-device", "VGA", "-monitor", f"unix:{path},server=on,wait=off")

    def command(self, words: str) -> str:
        """Say one command; what it printed. Raises BootError when QEMU does not answer in 30 s."""
        try:
            with socket.socket(socket.AF_UNIX) as door:
                door.settimeout(_ANSWER_SECONDS)
                door.connect(str(self.path))
                _until_prompt(door)
                door.sendall(words.encode() + b"\n")
                return _until_prompt(door)
        except OSError as error:
            raise BootError(f"QEMU's monitor {self.path} did not take {words!r}: {error}") from None

    def screen(self) -> bytes:
        """Pixels of the screen, three bytes each: red, green, blue. Raises BootError."""
        picture = self.path.with_name("screen.ppm")
        picture.unlink(missing_ok=True)
        said = self.command(f"screendump {picture}")
        deadline = time.monotonic() + _ANSWER_SECONDS
        while not picture.is_file() or not picture.stat().st_size:
            if time.monotonic() > deadline:
                raise BootError(f"QEMU wrote no picture of the screen; it said: {said.strip()}")
            time.sleep(_POLL)
        return _pixels(picture.read_bytes())


def _pixels(portable: bytes) -> bytes:
    """Content of a binary PPM file; netpbm(5)."""
    header = re.match(rb"P6\s+\d+\s+\d+\s+\d+\s", portable)
    if not header:
        raise BootError(f"QEMU's picture is no PPM file; it begins with {portable[:8]!r}")
    return portable[header.end() :]


def _until_prompt(door: socket.socket) -> str:
    said = b""
    while not said.endswith(_PROMPT):
        chunk = door.recv(_CHUNK)
        if not chunk:
            raise ConnectionError("QEMU ended")
        said += chunk
    return said.decode(errors="replace")
