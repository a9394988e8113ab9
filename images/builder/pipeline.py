"""The way from a recipe to a published image, step by step; unchanged inputs are found, not built."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from images import catalog
from images.builder import check, cleaning, disk, initrd, inputs, manifest, sbom, tar, tree
from images.builder import recipe as recipes
from images.builder.boot import Machine
from images.builder.debian import Archive
from images.builder.paths import Source, cache
from images.builder.progress import Progress
from images.builder.recipe import Recipe
from images.catalog import CatalogImage


def build(name: str, progress: Progress, *, refresh: bool = False) -> CatalogImage:
    """The published image of a recipe, built only if its inputs changed.

    `refresh` asks the mirror for new package lists first. Needs root. Raises ImageError; then the catalog
    is as it was, and the log of the tree is in `$PILEUS_CACHE/logs`.
    """
    if refresh:
        with progress.step("Refreshing package lists"):
            Archive(recipes.load(name).tree.release).refresh()
    with _locked(name):
        if found := _published(name, Source()):
            return found
        with _work(name) as work:
            # A copy: a file edited while the tree is made would give an image that its hash belies.
            source = Source().copy(work / "source")
            if found := _published(name, source):
                return found
            recipe = recipes.load(name, source)
            folder, input_hash = make(recipe, source, work, progress)
            with progress.step("Booting the disk, asking for health"):
                check.check(recipe.check, machine(recipe, folder))
            return catalog.publish(name, input_hash, folder)


def make(recipe: Recipe, source: Source, work: Path, progress: Progress) -> tuple[Path, str]:
    """Build everything into a folder of `work`, not published; the folder and the input hash.

    Equal inputs give equal bytes.
    """
    os.umask(0o022)  # modes of what the builder itself adds to the tree
    archive = Archive(recipe.tree.release)
    collected = inputs.collect(recipe, archive, source)
    with progress.step("Making the tree (diskimage-builder)"):
        dirty = tree.build_tree(recipe, archive, source, work)
    with progress.step("Normalising the tree"):
        clean = work / "normalised.tar"
        tar.normalise(dirty, clean, recipe.epoch, cleaning.dropper(recipe.tree.drop))
        dirty.unlink()
    return assemble(recipe, archive, collected, clean, work, progress), inputs.digest(collected)


def assemble(
    recipe: Recipe, archive: Archive, collected: dict[str, str], clean: Path, work: Path, progress: Progress
) -> Path:
    """From a normalised tar to a complete folder."""
    out, root = work / "out", work / "root"
    scratch = work / "layout"
    input_hash = inputs.digest(collected)
    with progress.step("Unpacking the tree"):
        disk.unpack(clean, root)
    with progress.step("Taking kernel and initrd out"):
        version = initrd.kernel_version(root)
        disk.add_kernel(recipe, root, archive, out)
    with progress.step("Laying the disk out (genimage)"):
        disk.lay_out(recipe, root, archive, scratch).rename(out / "disk.raw")
    with progress.step("Compressing the disk"):
        disk.compress(out / "disk.raw", out / "disk.qcow2")
    with progress.step("Writing manifest and SBOM"):
        (out / "cmdline").write_text(disk.kernel_arguments(recipe) + "\n")
        packages = manifest.packages_of(root)
        sbom.write_sboms(recipe, input_hash, root, packages, out)
        composed = manifest.compose(recipe, input_hash, collected, out, packages, version)
        (out / catalog.MANIFEST).write_bytes(manifest.encode(composed))
    return out


def machine(recipe: Recipe, folder: Path) -> Machine:
    """How the check boots a folder: the disk itself where it can, for that proves most."""
    return Machine(
        disk=folder / "disk.raw",
        kernel=folder / "vmlinuz",
        initrd=folder / "initrd",
        cmdline=disk.kernel_arguments(recipe),
        way="bios" if "bios" in recipe.disk.firmware else "direct",
        memory_mib=recipe.check.memory_mib,
    )


@contextmanager
def _locked(name: str) -> Iterator[None]:
    """One build of an image at a time on this machine; the second finds the first one's work."""
    folder = cache() / "work"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _published(name: str, source: Source) -> CatalogImage | None:
    recipe = recipes.load(name, source)
    input_hash = inputs.digest(inputs.collect(recipe, Archive(recipe.tree.release), source))
    found = catalog.find(name, input_hash)
    if found:
        catalog.make_current(name, input_hash)
    return found


@contextmanager
def _work(name: str) -> Iterator[Path]:
    """A folder on the catalog's file system that is gone afterwards; its log stays."""
    work = cache() / "work" / name
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        yield work
    finally:
        log = work / "tree.log"
        if log.is_file():
            logs = cache() / "logs"
            logs.mkdir(exist_ok=True)
            shutil.move(log, logs / f"{name}.log")
        shutil.rmtree(work, ignore_errors=True)
