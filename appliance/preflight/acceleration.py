"""Whether VMs run under KVM: found out by booting a kernel, because a device file proves nothing."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import msgspec

from appliance.paths import Paths
from appliance.preflight.check import Finding, Subject, ok, warn
from systemvm.engine.command import run
from systemvm.engine.errors import CommandError
from systemvm.engine.files import write_atomic
from systemvm.engine.service import Runner

#: Seconds in which the test kernel must have started its first program.
DEADLINE = 15.0
TOKEN = "PILEUS-TEST-KERNEL-RUNS"  # noqa: S105 (no secret)
_DEVICE = Path("/dev/kvm")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_INIT = f"#!/bin/busybox sh\n/bin/busybox echo {TOKEN}\n/bin/busybox poweroff -f\n"


@dataclass(frozen=True)
class Acceleration:
    """`kvm` or `qemu` (TCG), why, and whether a trial decided it."""

    kind: Literal["kvm", "qemu"]
    reason: str
    is_tried: bool = True


def check_acceleration(subject: Subject) -> Finding:
    """KVM if a kernel boots under it; else TCG, which is slower and does everything."""
    found = probe_acceleration(subject.paths)
    if found.kind == "kvm":
        return ok(found.reason)
    return warn(
        f"VMs run under TCG, slower and fully functional: {found.reason}",
        "for speed, use a machine whose processor offers virtualisation to its kernel",
    )


def probe_acceleration(paths: Paths, device: Path = _DEVICE, run: Runner = run) -> Acceleration:
    """Boot a test kernel under KVM, once per boot of the machine and kernel; takes DEADLINE at most."""
    if not device.exists():
        return Acceleration("qemu", f"there is no {device}")
    kernel = next(_kernels(paths), None)
    if kernel is None:
        return Acceleration("qemu", "there is no kernel to try KVM with before an image is built", False)
    record = paths.host / "acceleration.json"
    key = _key(kernel)
    known = _read(record, key)
    if known is None:
        known = boots_under("kvm", kernel, run)
        paths.host.mkdir(parents=True, exist_ok=True)
        write_atomic(record, msgspec.json.encode({"key": key, "found": known}))
    return known


def boots_under(accelerator: str, kernel: Path, run: Runner = run) -> Acceleration:
    """Whether `kernel` starts its first program under `kvm` (or `tcg`, to test the trial itself)."""
    with TemporaryDirectory(prefix="pileus-kvm-") as folder:
        try:
            initrd = build_initrd(Path(folder), run)
            said = run(_qemu(accelerator, kernel, initrd), timeout=DEADLINE).stdout
        except CommandError as error:
            said = error.stdout
            reason = _first_line(error)
        else:
            reason = "the test kernel stopped before its first program"
    if TOKEN in said:
        return Acceleration(
            "kvm" if accelerator == "kvm" else "qemu", f"a test kernel boots under {accelerator}"
        )
    return Acceleration("qemu", f"a test kernel does not boot under {accelerator}: {reason}")


def build_initrd(folder: Path, run: Runner = run) -> Path:
    """A RAM disk whose first program prints TOKEN and powers off. Raises CommandError."""
    root = folder / "root"
    (root / "bin").mkdir(parents=True)
    run(("install", "-m", "755", _busybox(), str(root / "bin/busybox")))
    (root / "init").write_text(_INIT)
    (root / "init").chmod(0o755)
    initrd = folder / "initrd"
    names = ".\nbin\nbin/busybox\ninit\n"
    run(("cpio", "--create", "--format=newc", "--owner=0:0", "-D", str(root), "-F", str(initrd)), stdin=names)
    return initrd


def _qemu(accelerator: str, kernel: Path, initrd: Path) -> tuple[str, ...]:
    return (
        *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-machine", "q35", "-accel", accelerator, "-m", "256"),
        *("-cpu", "host" if accelerator == "kvm" else "max"),
        *("-kernel", str(kernel), "-initrd", str(initrd), "-append", "console=ttyS0 panic=-1"),
        *("-serial", "stdio"),
    )


def _kernels(paths: Paths) -> Iterator[Path]:
    """Kernels that VMs will run, then the machine's own."""
    yield from sorted(paths.images.glob("*/current/vmlinuz"))
    yield from sorted(Path("/boot").glob("vmlinuz-*"), reverse=True)


def _key(kernel: Path) -> str:
    """Another boot of the machine or another kernel may give another answer."""
    stat = kernel.stat()
    words = f"{_BOOT_ID.read_text()} {kernel.resolve()} {stat.st_size} {stat.st_mtime_ns}"
    return hashlib.sha256(words.encode()).hexdigest()


def _read(record: Path, key: str) -> Acceleration | None:
    try:
        content = msgspec.json.decode(record.read_bytes())
    except FileNotFoundError:
        return None
    return msgspec.convert(content["found"], Acceleration) if content["key"] == key else None


def _busybox() -> str:
    import shutil

    return shutil.which("busybox") or "/bin/busybox"


def _first_line(error: CommandError) -> str:
    if error.returncode is None:
        return f"nothing started within {DEADLINE:.0f} s"
    return str(error).splitlines()[0]
