"""From a normalised tar to what is published: kernel, initrd, raw and compressed disk.

No mounts, no loop devices: genimage lays the disk out from a declarative file, `disk.cfg.j2`.
"""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import jinja2

from images.builder import grub, initrd
from images.builder.debian import Archive
from images.builder.errors import BuildError
from images.builder.paths import REPOSITORY
from images.builder.recipe import Recipe
from systemvm.engine.command import run
from systemvm.engine.errors import CommandError

ESP_MIB = 64
#: MiB in front of the EFI system partition, and behind root for the second partition table.
_HEAD_MIB, _TAIL_MIB = 2, 1
_TIMEOUT = 900.0
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Parts:
    """What assembly leaves in its folder."""

    raw: Path
    qcow2: Path
    kernel: Path
    initrd: Path
    cmdline: str


def unpack(tar: Path, tree: Path) -> None:
    """Unpack a normalised tar with owners, modes and times."""
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    argv = (
        "tar",
        "--extract",
        "--numeric-owner",
        "--delay-directory-restore",
        "--xattrs",
        "--xattrs-include=*",
    )
    run((*argv, "-p", "-f", str(tar), "-C", str(tree)), timeout=_TIMEOUT)


def kernel_arguments(recipe: Recipe) -> str:
    """The whole kernel command line."""
    return f"root=UUID={recipe.disk.root_uuid} {recipe.kernel.cmdline}".strip()


def add_kernel(recipe: Recipe, tree: Path, archive: Archive, out: Path) -> None:
    """Take kernel and initrd out to `out`, and put them and the boot menu into the tree's /boot."""
    out.mkdir(parents=True, exist_ok=True)
    found = sorted(path for path in tree.glob(recipe.kernel.image) if not path.is_symlink())
    if len(found) != 1:
        said = (
            f"kernel.image {recipe.kernel.image!r} matches {len(found)} files of the tree; need exactly one"
        )
        raise BuildError("kernel", said)
    shutil.copy(found[0], out / "vmlinuz")
    initrd.settle_modules(tree, recipe.kernel.plain_modules)
    initrd.write_initrd(tree, recipe.kernel.modules, archive, recipe.epoch, out / "initrd")
    boot = tree / "boot"
    boot.mkdir(exist_ok=True)
    found[0].rename(boot / "vmlinuz")
    shutil.copyfile(out / "initrd", boot / "initrd")
    grub.write_menu(boot / "grub" / "grub.cfg", recipe.disk, kernel_arguments(recipe))
    for path in (boot / "vmlinuz", boot / "initrd", boot / "grub" / "grub.cfg"):
        path.chmod(0o644)
    _set_times(tree, recipe.epoch)


def lay_out(recipe: Recipe, tree: Path, archive: Archive, out: Path) -> Path:
    """Make `out/disk.raw` (sparse) of the tree. Raises BuildError with the tool's words."""
    parts = out / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    if "bios" in recipe.disk.firmware:
        grub.write_bios(parts, recipe.disk)
    if "uefi" in recipe.disk.firmware:
        grub.write_efi(parts, recipe.disk, archive)
    for path in parts.iterdir():
        os.utime(path, (recipe.epoch, recipe.epoch))
    config = out / "disk.cfg"
    config.write_text(_config(recipe, tree, parts))
    for name in ("genimage.tmp", "genimage.out", "empty"):
        shutil.rmtree(out / name, ignore_errors=True)
    (out / "empty").mkdir()
    settings = {
        "TZ": "UTC",
        "PYTHONPATH": str(REPOSITORY),
        "SOURCE_DATE_EPOCH": str(recipe.epoch),
        "E2FSPROGS_FAKE_TIME": str(recipe.epoch),
        # genimage lets e2fsck look over the file system, which notes when that was.
        "E2FSCK_TIME": str(recipe.epoch),
        "MTOOLS_SKIP_CHECK": "1",
    }
    argv = (
        *("env", *(f"{key}={value}" for key, value in settings.items())),
        *("genimage", "--config", str(config), "--rootpath", str(out / "empty")),
        *("--tmppath", str(out / "genimage.tmp"), "--inputpath", str(parts)),
        *("--outputpath", str(out / "genimage.out")),
    )
    _run("disk layout", argv)
    raw = out / "disk.raw"
    os.replace(out / "genimage.out" / "disk.raw", raw)
    for name in ("genimage.tmp", "genimage.out", "empty"):
        shutil.rmtree(out / name)
    shutil.rmtree(parts)
    return raw


def compress(raw: Path, qcow2: Path) -> None:
    """Write the compressed qcow2; clusters are written in order, so equal in gives equal out."""
    argv = ("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", "-o", "compression_type=zstd")
    _run("compressed disk", (*argv, str(raw), str(qcow2)))


def _set_times(tree: Path, epoch: int) -> None:
    """Every file and folder, also those just touched by changing what is in them."""
    for folder, _, files in os.walk(tree):
        for name in (*files, ""):
            os.utime(os.path.join(folder, name), (epoch, epoch), follow_symlinks=False)


def _config(recipe: Recipe, tree: Path, parts: Path) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        autoescape=False,  # noqa: S701 (a genimage file, not HTML)
    )
    return environment.get_template("disk.cfg.j2").render(
        recipe=recipe,
        tree=tree,
        parts=parts,
        esp_mib=ESP_MIB,
        root_mib=recipe.disk.size_mib - _HEAD_MIB - ESP_MIB - _TAIL_MIB,
        mke2fs_conf=_HERE / "mke2fs.conf",
        python=sys.executable,
    )


def _run(step: str, argv: tuple[str, ...]) -> None:
    try:
        run(argv, timeout=_TIMEOUT)
    except CommandError as error:
        raise BuildError(step, str(error)) from None
