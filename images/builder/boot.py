"""A QEMU process that boots an image: for the check before publication, the image tests and the bench.

No libvirt and no bridges: the machine's link-local NIC is on QEMU's own closed user network, and the agent's
port is forwarded from 127.0.0.1. Writes of the guest go to a temporary file, never to the image.
"""

import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

import httpx

from images.builder.errors import BootError

Way = Literal["direct", "bios", "uefi", "secureboot"]
#: Best of those measured under emulation: what the guest uses, without features that are dear to emulate.
EMULATED_CPU = "Haswell-v4"
#: As the host agent's VMs have it: docs/decisions/0007.
TRANSLATION_CACHE_MIB = 64
MAC = "0e:00:a9:fe:00:02"
ADDRESS = "169.254.10.2"
_OVMF = Path("/usr/share/OVMF")
_POLL = 0.05
#: A first answer may take long: the agent imports what it needs with it.
_ANSWER_SECONDS = 30.0
#: Of the time since power-on: what a try may take to reach the guest. QEMU's user network accepts at once for
#: a guest that is not up yet, and repeats the SYN ever more rarely: who waits there is told seconds too late.
_PATIENCE = 0.05
_LEAST_PATIENCE = 0.5
_STOP_SECONDS = 10.0
_TAIL_LINES = 40


@dataclass(frozen=True)
class Machine:
    """What to boot and how; `disk` is a raw or qcow2 image that stays as it is."""

    disk: Path | None = None
    disk_format: Literal["raw", "qcow2"] = "raw"
    kernel: Path | None = None
    initrd: Path | None = None
    cmdline: str = ""
    #: direct: kernel, initrd and cmdline; else the disk itself under that firmware.
    way: Way = "direct"
    config_disk: Path | None = None
    memory_mib: int = 256
    cpus: int = 2
    cpu: str = EMULATED_CPU
    #: Guest port on ADDRESS that is forwarded from 127.0.0.1; 0 for none.
    agent_port: int = 0
    #: More of QEMU's arguments: further disks and NICs.
    arguments: tuple[str, ...] = ()


@dataclass
class Running:
    """A machine that was started; `port` on 127.0.0.1 is its agent's."""

    process: subprocess.Popen[bytes]
    serial: Path
    port: int
    started: float = field(default_factory=time.monotonic)

    def seconds(self) -> float:
        """Seconds since power-on."""
        return time.monotonic() - self.started

    def console(self) -> str:
        """All that the machine wrote to its serial console."""
        return self.serial.read_text(errors="replace") if self.serial.is_file() else ""

    def wait_serial(self, text: str, timeout: float) -> float:
        """Wait until the console shows `text`; seconds since power-on. Raises BootError."""
        while text not in self.console():
            self._alive(timeout, f"print {text!r}")
            time.sleep(_POLL)
        return self.seconds()

    def wait_https(
        self, path: str, context: ssl.SSLContext, name: str, timeout: float
    ) -> tuple[float, httpx.Response]:
        """Wait until the agent answers `GET path` with 200; seconds since power-on, and the answer.

        `name` is the server's name in its certificate. Raises BootError with the last refusal.
        """
        extensions = {"sni_hostname": name}
        last = ""
        url = f"https://127.0.0.1:{self.port}{path}"
        while True:
            try:
                with httpx.Client(verify=context, trust_env=False, timeout=self._patience()) as client:
                    answer = client.get(url, extensions=extensions)
                if answer.status_code == httpx.codes.OK:
                    return self.seconds(), answer
                last = f"status {answer.status_code}: {answer.text[:500]}"
            except (httpx.HTTPError, ssl.SSLError, OSError) as error:
                last = str(error)
            self._alive(timeout, f"answer GET {path} with 200 (last: {last})")
            time.sleep(_POLL)

    def wait_http(self, path: str, text: str, timeout: float) -> float:
        """Wait until plain HTTP `GET path` gives exactly `text`; seconds since power-on. Raises BootError."""
        last = ""
        while True:
            try:
                patience = self._patience().connect
                answer = httpx.get(f"http://127.0.0.1:{self.port}{path}", trust_env=False, timeout=patience)
                if answer.status_code == httpx.codes.OK and answer.text == text:
                    return self.seconds()
                last = f"status {answer.status_code}: {answer.text[:500]!r}"
            except (httpx.HTTPError, OSError) as error:
                last = str(error)
            self._alive(timeout, f"answer GET {path} with {text!r} (last: {last})")
            time.sleep(_POLL)

    def stop(self) -> None:
        """Switch it off, by its process id."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def _patience(self) -> httpx.Timeout:
        """The handshake shows that the guest is there; its answer may take longer."""
        return httpx.Timeout(_ANSWER_SECONDS, connect=max(_LEAST_PATIENCE, _PATIENCE * self.seconds()))

    def _alive(self, timeout: float, wish: str) -> None:
        if self.process.poll() is not None:
            raise self._failed(f"ended before it could {wish}; QEMU: {self._words() or 'no word'}")
        if self.seconds() > timeout:
            raise self._failed(f"did not {wish} within {timeout:.0f} s")

    def _words(self) -> str:
        """What QEMU said, without its remarks on features that emulation lacks."""
        raw = self.process.stderr.read() if self.process.stderr else b""
        lines = raw.decode(errors="replace").splitlines()
        return "\n".join(line for line in lines if "doesn't support requested feature" not in line)

    def _failed(self, what: str) -> BootError:
        tail = "\n".join(self.console().splitlines()[-_TAIL_LINES:])
        return BootError(f"the machine {what}; the end of its console:\n{tail}")


@contextmanager
def running(machine: Machine) -> Iterator[Running]:
    """Start a machine, and switch it off at the end. Raises BootError when QEMU does not start."""
    with tempfile.TemporaryDirectory(prefix="pileus-boot-") as name:
        folder = Path(name)
        port = free_port() if machine.agent_port else 0
        argv = command(machine, folder, port)
        try:
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
        except FileNotFoundError:
            raise BootError(f"{argv[0]} is not installed; run: apt-get install qemu-system-x86") from None
        machine_running = Running(process, folder / "serial.log", port)
        try:
            yield machine_running
        finally:
            machine_running.stop()
            _close(process.stderr)


def command(machine: Machine, folder: Path, port: int) -> list[str]:
    """QEMU's argv; firmware variables and the console's log are in `folder`."""
    argv = [
        *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none"),
        *("-accel", f"tcg,thread=multi,tb-size={TRANSLATION_CACHE_MIB}"),
        *("-cpu", machine.cpu, "-smp", str(machine.cpus)),
        *("-m", str(machine.memory_mib), "-chardev", f"file,id=console,path={folder}/serial.log"),
        *("-serial", "chardev:console", "-device", "virtio-rng-pci"),
        *_boot(machine, folder),
    ]
    if machine.disk:
        argv += _drive("root", machine.disk, machine.disk_format, "snapshot=on")
    if machine.config_disk:
        argv += _drive("config", machine.config_disk, "raw", "read-only=on")
    if port:
        net = f"user,id=link,restrict=on,net=169.254.0.0/16,host=169.254.0.1,dhcpstart={ADDRESS}"
        argv += ["-netdev", f"{net},hostfwd=tcp:127.0.0.1:{port}-{ADDRESS}:{machine.agent_port}"]
        argv += ["-device", f"virtio-net-pci,netdev=link,mac={MAC},romfile="]
    return [*argv, *machine.arguments]


def _boot(machine: Machine, folder: Path) -> list[str]:
    if machine.way == "direct":
        direct = ["-machine", "q35", "-kernel", str(machine.kernel), "-append", machine.cmdline]
        return [*direct, "-initrd", str(machine.initrd)] if machine.initrd else direct
    if machine.way == "bios":
        return ["-machine", "q35"]
    secure = machine.way == "secureboot"
    code = _OVMF / ("OVMF_CODE_4M.secboot.fd" if secure else "OVMF_CODE_4M.fd")
    # The variables of the "ms" file hold the keys that signed Debian's shim.
    variables = folder / "variables.fd"
    shutil.copy(_OVMF / ("OVMF_VARS_4M.ms.fd" if secure else "OVMF_VARS_4M.fd"), variables)
    argv = ["-machine", "q35,smm=on" if secure else "q35"]
    if secure:
        argv += ["-global", "driver=cfi.pflash01,property=secure,value=on"]
    argv += ["-drive", f"if=pflash,unit=0,format=raw,read-only=on,file={code}"]
    return [*argv, "-drive", f"if=pflash,unit=1,format=raw,file={variables}"]


def _drive(name: str, path: Path, form: str, option: str) -> list[str]:
    drive = f"if=none,id={name},file={path},format={form},{option}"
    return ["-drive", drive, "-device", f"virtio-blk-pci,drive={name}"]


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _close(stream: IO[bytes] | None) -> None:
    if stream:
        stream.close()
