"""Checks of the machine itself: who we are, what runs it, how much of it there is."""

import re
from pathlib import Path

from appliance.preflight.check import Finding, Subject, fail, ok, warn

GIB = 1024**3
#: Programs that a host needs, and the Debian packages they come in.
PROGRAMS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "libvirtd": "libvirt-daemon-system",
    "nft": "nftables",
    "ip": "iproute2",
    "unshare": "util-linux",
    "mount": "mount",
    "setpriv": "util-linux",
    "busybox": "busybox-static",
    "cpio": "cpio",
    "useradd": "passwd",
}
#: Programs that only image builds need.
BUILD_PROGRAMS = {
    "mmdebstrap": "mmdebstrap",
    "debootstrap": "debootstrap",
    "genimage": "genimage",
    "mke2fs": "e2fsprogs",
    "mcopy": "mtools",
    "mkfs.vfat": "dosfstools",
    "sudo": "sudo",
    "zstd": "zstd",
}
_DEBIAN = {"12", "13"}


def check_root(subject: Subject) -> Finding:
    """Networks, mounts and VMs need root; the management server drops it."""
    uid = subject.machine.uid()
    return (
        ok("running as root") if uid == 0 else fail(f"running as user {uid}", "run it as root, or with sudo")
    )


def check_release(subject: Subject) -> Finding:
    """Tested on Debian 12 and 13."""
    text = subject.machine.read("/etc/os-release")
    values = dict(re.findall(r'^([A-Z_]+)="?([^"\n]*)"?$', text, re.MULTILINE))
    name = values.get("PRETTY_NAME", "an unknown system")
    if values.get("ID") == "debian" and values.get("VERSION_ID") in _DEBIAN:
        return ok(name)
    return warn(f"{name} is not tested", "use Debian 12 or 13 if something fails")


def check_architecture(subject: Subject) -> Finding:
    """Images and machine types are x86-64."""
    found = subject.machine.architecture()
    if found == "x86_64":
        return ok(found)
    return fail(f"{found} processors are not supported", "use a machine with x86-64 processors")


def check_processors(subject: Subject) -> Finding:
    """The system VMs want two processors beside the first guest."""
    count = subject.machine.cpus()
    if count >= 2:
        return ok(f"{count} processors")
    return warn("one processor: everything takes twice as long", "give the machine two processors")


def check_memory(subject: Subject) -> Finding:
    """Three system VMs, a guest and the management server take about 3 GiB."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", subject.machine.read("/proc/meminfo"), re.MULTILINE)
    available = int(found[1]) * 1024 if found else 0
    words = f"{available / GIB:.1f} GiB of memory available"
    if available >= 4 * GIB:
        return ok(words)
    if available >= 2.5 * GIB:
        return warn(f"{words}: enough for few guests", "free memory, or give the machine 4 GiB")
    return fail(f"{words}, 2.5 GiB are needed", "free memory, or give the machine more")


def check_disk(subject: Subject) -> Finding:
    """Images, the template cache and disks of the first VMs."""
    spaces = {path: subject.machine.free(path) for path in (subject.paths.home, subject.paths.cache)}
    path, free = min(spaces.items(), key=lambda item: item[1])
    words = f"{free / GIB:.1f} GiB free for {path}"
    if free >= 12 * GIB:
        return ok(words)
    if free >= 6 * GIB:
        return warn(f"{words}: enough for few guests", "free space, or set PILEUS_HOME to a larger disk")
    return fail(
        f"{words}, 6 GiB are needed", "free space, or set PILEUS_HOME and PILEUS_CACHE to a larger disk"
    )


def check_home(subject: Subject) -> Finding:
    """Unix sockets have a length limit."""
    problem = subject.paths.problem()
    return fail(problem, "set PILEUS_HOME to a shorter path") if problem else ok(str(subject.paths.home))


def check_programs(subject: Subject) -> Finding:
    """Each is named with the package it comes in."""
    has_image = (subject.paths.images / "systemvm/current/disk.qcow2").exists()
    needed = PROGRAMS if has_image else PROGRAMS | BUILD_PROGRAMS
    missing = {program: package for program, package in needed.items() if not subject.machine.which(program)}
    if not missing:
        return ok(f"{len(needed)} programs found")
    packages = " ".join(sorted(set(missing.values())))
    return fail(f"not installed: {', '.join(sorted(missing))}", f"apt-get install {packages}")


def check_python(subject: Subject) -> Finding:
    """The code is written for Python 3.11."""
    found = subject.machine.python()
    words = "Python " + ".".join(map(str, found))
    if found >= (3, 11):
        return ok(words)
    return fail(f"{words}, 3.11 is needed", "use Debian 12 or later")


def check_clock(subject: Subject) -> Finding:
    """Certificates and tickets are worth nothing under a wrong clock."""
    made = Path(__file__).stat().st_mtime
    now = subject.machine.now()
    if now >= made - 86400:
        return ok("the clock is not behind this very program")
    days = int((made - now) / 86400)
    return fail(f"the clock is at least {days} days slow", "set it: date -s, or install chrony")


def check_random(subject: Subject) -> Finding:
    """Keys are made from it."""
    if subject.machine.is_random_ready():
        return ok("the kernel's random generator is seeded")
    return fail("the kernel's random generator is not seeded", "wait a minute; give a VM a virtio-rng device")


def check_open_files(subject: Subject) -> Finding:
    """Consoles, tunnels and VMs hold many."""
    _soft, hard = subject.machine.open_files()
    if hard < 0 or hard >= 4096:  # -1 is RLIM_INFINITY
        return ok("open files without limit" if hard < 0 else f"{hard} open files allowed")
    return warn(f"only {hard} open files allowed", "raise the limit: ulimit -Hn 65536")
