"""Checks for image builds: they need a loop device, ext4 and room; a machine that has the images does not."""

import tempfile
from pathlib import Path

from appliance.preflight.basics import GIB
from appliance.preflight.check import Finding, Subject, fail, ok, warn


def check_image_builds(subject: Subject) -> Finding:
    """Loop devices, ext4 and a scratch folder."""
    if (subject.paths.images / "systemvm/current/disk.qcow2").exists():
        return ok("the system VM image is built already")
    problems = []
    if not subject.machine.exists("/dev/loop-control"):
        problems.append("no loop devices (modprobe loop)")
    if "\text4\n" not in subject.machine.read("/proc/filesystems"):
        problems.append("no ext4 (modprobe ext4)")
    scratch = Path(tempfile.gettempdir())
    if subject.machine.free(scratch) < 6 * GIB:
        problems.append(f"less than 6 GiB free in {scratch} (set TMPDIR)")
    if problems:
        return fail(
            f"images cannot be built: {'; '.join(problems)}", "repair that, or copy built images here"
        )
    return ok("loop devices, ext4 and room for image builds")


def check_scratch(subject: Subject) -> Finding:
    """Builds run programs out of the scratch folder."""
    scratch = tempfile.gettempdir()
    for line in subject.machine.read("/proc/self/mounts").splitlines():
        _device, target, _kind, options, *_ = line.split()
        if target == scratch and {"noexec", "nodev"} & set(options.split(",")):
            return warn(f"{scratch} is mounted noexec or nodev", f"mount -o remount,exec,dev {scratch}")
    return ok(f"{scratch} may hold programs and devices")
