"""A host with real libvirt and QEMU in a namespace, and an image that boots in seconds on it."""

import gzip
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from systemvm.engine.command import run
from tests.netns.host_bench import HostBench
from tests.netns.topology import Topology

# Prints what it sees each time that it changes: NICs and disks are virtio PCI functions (vendor 1af4).
_INIT = """#!/bin/busybox sh
b=/bin/busybox
$b mkdir -p /proc /sys
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
echo "BOOTED $($b cat /proc/cmdline)"
[ "$($b grep -o crash.now /proc/cmdline)" ] && echo c > /proc/sysrq-trigger
[ "$($b grep -o poweroff.now /proc/cmdline)" ] && $b poweroff -f
[ "$($b grep -o count.now /proc/cmdline)" ] && exec $b sh /count
seen=
while true; do
  found=$($b grep -l 0x1af4 /sys/bus/pci/devices/*/vendor | $b wc -l)
  [ "$found" = "$seen" ] || echo "VIRTIO $found"
  seen=$found
  $b sleep 0.2
done
"""
# Writes numbers to the first disk, each to a place of its own and to the first; reads them when it boots.
_COUNT = """b=/bin/busybox
$b mkdir -p /dev
$b mount -t devtmpfs dev /dev
$b insmod /virtio_blk.ko
at() { $b dd if=/dev/vda bs=512 skip=$1 count=1 2>/dev/null | $b head -c 10; }
last=$(at 0 | $b grep -E '^[0-9]{10}$' || echo 0000000000)
n=$((1$last - 10000000000))
lost=$($b dd if=/dev/vda bs=512 skip=1 count=$n 2>/dev/null | $b fold -w 512 |
  $b awk -v n=$n '$1 != sprintf("%010d", NR) { lost++ } END { print lost + n - NR }')
echo "FOUND $n LOST $lost"
while true; do
  n=$((n + 1))
  for place in $n 0; do
    $b printf '%-512.10d' $n | $b dd of=/dev/vda bs=512 seek=$place conv=notrunc,fsync 2>/dev/null
  done
  echo "WROTE $n"
done
"""


def _built_kernel() -> Path:
    images = Path(os.environ.get("PILEUS_CACHE", "/var/cache/pileus")) / "images"
    found = sorted(images.glob("*/current/vmlinuz"))
    assert found, f"no kernel in {images}: build an image first, `pileus image build tiny`"
    return found[0]


def _take_disk_driver(initrd: Path, to: Path) -> None:
    """Out of the initrd of an image with the same kernel, which is a gzipped cpio archive."""
    with gzip.open(initrd) as archive:
        name = "modules/00-virtio_blk.ko"
        taken = subprocess.run(
            ("cpio", "--extract", "--quiet", "--to-stdout", name), input=archive.read(), capture_output=True
        )
    assert taken.stdout, f"{initrd} has no {name}: {taken.stderr!r}"
    to.write_bytes(taken.stdout)


@pytest.fixture(scope="session")
def probe_cache() -> Iterator[Path]:
    """A cache with the catalog image `probe`: a real kernel, busybox, an empty disk."""
    cache = Path(tempfile.mkdtemp(prefix="ptc-"))
    build = cache / "images/probe/1"
    root = cache / "root"
    (root / "bin").mkdir(parents=True)
    build.mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "", root / "bin/busybox")
    (root / "init").write_text(_INIT)
    (root / "init").chmod(0o755)
    (root / "count").write_text(_COUNT)
    _take_disk_driver(_built_kernel().with_name("initrd"), root / "virtio_blk.ko")
    run(
        ("cpio", "--create", "--format=newc", "--owner=0:0", "-D", str(root), "-F", str(build / "initrd")),
        stdin=".\nbin\nbin/busybox\ninit\ncount\nvirtio_blk.ko\n",
    )
    shutil.copy(_built_kernel(), build / "vmlinuz")
    (build / "cmdline").write_text("console=ttyS0 quiet panic=0 no_timer_check\n")
    run(("qemu-img", "create", "-q", "-f", "qcow2", str(build / "disk.qcow2"), "64M"))
    (build.parent / "current").symlink_to("1")
    yield cache
    shutil.rmtree(cache)


@pytest.fixture
def host(probe_cache: Path) -> Iterator[HostBench]:
    with Topology() as lab:
        bench = HostBench(lab, probe_cache)
        bench.start_libvirt()
        bench.start_agent()
        bench.start_relay()
        yield bench
    bench.close()
