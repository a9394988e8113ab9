"""A tiny guest in QEMU on a tap of a namespace machine: its network, its two consoles, its power button."""

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import httpx

from images.builder import boot
from images.builder.boot import Way
from images.builder.monitor import Monitor
from tests.netns.topology import Machine, eventually

ROUTER, GUEST = "10.1.1.1", "10.1.1.50"
TAP, MAC = "tap0", "02:00:0a:01:01:32"
#: Seconds; emulation on a busy machine is slow, and nothing is gained by a tight bound.
BOOT, ANSWER = 180.0, 30.0


@dataclass
class Vm:
    """A running guest; `host` is the machine its network hangs on."""

    host: Machine
    process: subprocess.Popen[str]
    folder: Path
    serial: socket.socket
    monitor: Monitor

    def console(self) -> str:
        """All that the guest wrote to its serial console."""
        return (self.folder / "serial.log").read_text(errors="replace")

    def wait_console(self, text: str, seconds: float = ANSWER, *, after: int = 0) -> None:
        """Wait until the console shows `text` behind its first `after` characters."""
        eventually(lambda: text in self.console()[after:], f"the console shows {text!r}", seconds)

    def type(self, line: str) -> int:
        """Type a line on the serial console; the length of the console before."""
        before = len(self.console())
        self.serial.sendall(line.encode() + b"\n")
        return before

    def log_in(self, user: str, password: str) -> None:
        """Log in at the serial prompt."""
        before = self.type(user)
        self.wait_console("Password:", after=before)
        before = self.type(password)
        self.wait_console(f"{user}@", after=before)

    def get(self, path: str) -> httpx.Response:
        """A page of the guest's web server, asked from the host's network."""
        with self.host.entered(), httpx.Client(trust_env=False, timeout=5) as client:
            return client.get(f"http://{GUEST}{path}")

    def wait_page(self, path: str, text: str, seconds: float = ANSWER) -> str:
        """Wait until a page holds `text`; the page."""

        def ask() -> str:
            assert self.process.poll() is None, self.process.communicate()[0] + self.console()
            try:
                page = self.get(path).text
            except httpx.HTTPError:
                return ""
            return page if text in page else ""

        return eventually(ask, f"http://{GUEST}{path} shows {text!r}", seconds)

    def press_power_button(self, seconds: float = 60.0) -> None:
        """ACPI power button; waits until the guest is off."""
        self.monitor.command("system_powerdown")
        eventually(lambda: self.process.poll() is not None, "the guest powers itself off", seconds)


@contextmanager
def running(host: Machine, disk: Path, way: Way, folder: Path) -> Iterator[Vm]:
    """Boot a qcow2 in `host`, which gets a tap with the router's address. Writes go nowhere."""
    host.run("ip", "tuntap", "add", "dev", TAP, "mode", "tap")
    host.run("ip", "addr", "add", f"{ROUTER}/24", "dev", TAP)
    host.run("ip", "link", "set", TAP, "up")
    # UEFI firmware itself takes more than the guest does.
    memory = 96 if way == "bios" else 256
    machine = boot.Machine(disk=disk, disk_format="qcow2", way=way, memory_mib=memory, cpus=1)
    process = host.start(*_command(boot.command(machine, folder, 0), folder))
    serial = socket.socket(socket.AF_UNIX)
    reader = Thread(target=_drain, args=(serial,))
    try:
        eventually((folder / "serial").exists, "QEMU listens")
        serial.connect(str(folder / "serial"))
        # A socket that nobody reads is full after 280 single bytes, and the guest's console stands still.
        reader.start()
        yield Vm(host, process, folder, serial, Monitor(folder / "monitor"))
    finally:
        process.kill()
        process.wait()
        if reader.ident:
            reader.join()
        serial.close()


def _command(argv: list[str], folder: Path) -> list[str]:
    """The builder's QEMU with what a log-in needs besides: typing on the serial line, screen, tap."""
    console = f"socket,id=console,path={folder}/serial,server=on,wait=off,logfile={folder}/serial.log"
    changed = [console if word.startswith("file,id=console") else word for word in argv]
    return [
        *changed,
        *Monitor.arguments(folder / "monitor"),
        *("-netdev", f"tap,id=lan,ifname={TAP},script=no,downscript=no"),
        *("-device", f"virtio-net-pci,netdev=lan,mac={MAC},romfile="),
    ]


def _drain(serial: socket.socket) -> None:
    """Read what QEMU sends until it ends; the text is in its log file."""
    with contextlib.suppress(ConnectionResetError):
        while serial.recv(4096):
            pass
