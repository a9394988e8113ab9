"""The minimal initrd: one static BusyBox, the modules a recipe names, a script that mounts root.

About 1 MB, no udev, no configuration: it finds root by `root=UUID=…` and hands over. The kernel's own
file system has /dev/console, and devtmpfs makes the rest.
"""

import gzip
import lzma
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from images.builder.debian import Archive
from images.builder.errors import BuildError
from systemvm.engine.command import run

INIT = Path(__file__).with_name("init.sh")
_STEP = "initrd"
_TIMEOUT = 120.0


def write_initrd(tree: Path, modules: Sequence[str], archive: Archive, epoch: int, out: Path) -> None:
    """Write a gzipped cpio for the kernel in `tree`; equal inputs give equal bytes. Raises BuildError."""
    root = out.with_name(out.name + ".root")
    _lay_out(root, archive, INIT.read_text())
    paths = _dependencies(tree, modules)
    for number, path in enumerate(paths):
        name = path.name.removesuffix(".xz")
        # The number keeps the order in which they must be loaded.
        (root / "modules" / f"{number:02}-{name}").write_bytes(_unpacked(path))
    _pack(root, epoch, out)


def write_bare_initrd(archive: Archive, epoch: int, marker: str, out: Path) -> None:
    """An initrd whose init prints `marker` and powers off: the baseline of every boot time we promise."""
    root = out.with_name(out.name + ".root")
    init = f"#!/bin/busybox sh\n/bin/busybox echo '{marker}' > /dev/console\n/bin/busybox poweroff -f\n"
    _lay_out(root, archive, init)
    _pack(root, epoch, out)


def _lay_out(root: Path, archive: Archive, init: str) -> None:
    shutil.rmtree(root, ignore_errors=True)
    for folder in ("bin", "dev", "proc", "root", "modules"):
        (root / folder).mkdir(parents=True)
    deb = archive.fetch(("busybox-static",))["busybox-static"]
    scratch = root.with_name(root.name + ".deb")
    shutil.rmtree(scratch, ignore_errors=True)
    run(("dpkg-deb", "--extract", str(deb), str(scratch)), timeout=_TIMEOUT)
    shutil.copy(scratch / "usr" / "bin" / "busybox", root / "bin" / "busybox")
    shutil.rmtree(scratch)
    (root / "init").write_text(init)
    (root / "init").chmod(0o755)


def _dependencies(tree: Path, modules: Sequence[str]) -> list[Path]:
    """Files of the modules and of all they need, needed ones first, by depmod's `modules.dep`."""
    version = kernel_version(tree)
    folder = tree / "usr" / "lib" / "modules" / version
    needs: dict[str, list[str]] = {}
    for line in (folder / "modules.dep").read_text().splitlines():
        path, _, words = line.partition(":")
        needs[path] = words.split()
    by_name = {_module_name(path): path for path in needs}
    builtin = {_module_name(path) for path in (folder / "modules.builtin").read_text().split()}
    ordered: dict[str, None] = {}
    for module in modules:
        name = module.replace("-", "_")
        if name in builtin:
            continue
        if name not in by_name:
            raise BuildError(_STEP, f"kernel {version} has no module {module!r}; correct kernel.modules")
        path = by_name[name]
        # modules.dep lists what to load last first.
        ordered.update(dict.fromkeys([*reversed(needs[path]), path]))
    return [folder / path for path in ordered]


def settle_modules(tree: Path, plain: bool) -> None:
    """Index the modules that are left in the tree; `plain` unpacks them first. Raises BuildError."""
    version = kernel_version(tree)
    folder = tree / "usr" / "lib" / "modules" / version
    for path in sorted(folder.rglob("*.ko.xz")) if plain else ():
        target = path.with_suffix("")
        target.write_bytes(_unpacked(path))
        target.chmod(0o644)
        path.unlink()
    run(("depmod", "--basedir", str(tree), version), timeout=_TIMEOUT)


def kernel_version(tree: Path) -> str:
    """Release of the one kernel in the tree. Raises BuildError when there is none, or more than one."""
    found = sorted(path.parent.name for path in (tree / "usr" / "lib" / "modules").glob("*/modules.dep"))
    if len(found) != 1:
        raise BuildError(_STEP, f"the tree has {len(found)} kernels with modules ({found}); need exactly one")
    return found[0]


def _module_name(path: str) -> str:
    return re.sub(r"\.ko(\.\w+)?$", "", path.rpartition("/")[2]).replace("-", "_")


def _unpacked(path: Path) -> bytes:
    """The initrd is compressed as a whole, and the kernel loads plain modules without a helper."""
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def _pack(root: Path, epoch: int, out: Path) -> None:
    paths = sorted(root.rglob("*"))
    for path in [*paths, root]:
        os.utime(path, (epoch, epoch))
    listed = "".join(f"{path.relative_to(root)}\n" for path in paths)
    cpio = out.with_name(out.name + ".cpio")
    argv = ("cpio", "--create", "--format=newc", "--reproducible", "--owner=0:0", "--quiet")
    run((*argv, f"--directory={root}", f"--file={cpio}"), stdin=listed, timeout=_TIMEOUT)
    out.write_bytes(gzip.compress(cpio.read_bytes(), mtime=0))
    cpio.unlink()
    shutil.rmtree(root)
