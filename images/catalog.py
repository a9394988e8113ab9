"""The local catalog of images: `$PILEUS_CACHE/images/<name>/<input hash>/`, and `current` for the newest.

A folder appears only whole, by a rename, after its disk booted; `current` moves only then.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import msgspec

from images.builder.errors import CatalogError
from images.builder.manifest import Manifest
from images.builder.paths import cache

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class CatalogImage:
    """A published image; its files never change."""

    name: str
    input_hash: str
    folder: Path

    @property
    def raw(self) -> Path:
        """Sparse raw disk."""
        return self.folder / "disk.raw"

    @property
    def qcow2(self) -> Path:
        """Compressed qcow2 disk, to be carried elsewhere."""
        return self.folder / "disk.qcow2"

    @property
    def kernel(self) -> Path:
        """Kernel for direct boot."""
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """Initrd for direct boot."""
        return self.folder / "initrd"

    @property
    def cmdline(self) -> str:
        """Kernel command line for direct boot."""
        return (self.folder / "cmdline").read_text().strip()

    def manifest(self) -> Manifest:
        """What is in it. Raises CatalogError when the manifest is damaged."""
        try:
            return msgspec.json.decode((self.folder / MANIFEST).read_bytes(), type=Manifest)
        except (OSError, msgspec.MsgspecError) as error:
            said = f"{self.folder / MANIFEST}: {error}; delete that folder and build again"
            raise CatalogError(said) from None


def find(name: str, input_hash: str) -> CatalogImage | None:
    """The image made from these inputs, None when it was never published or a file of it is gone."""
    image = CatalogImage(name, input_hash, root() / name / input_hash)
    if not image.folder.is_dir():
        return None
    files = image.manifest().files
    present = {path.name: path.stat().st_size for path in image.folder.iterdir()}
    return image if all(present.get(key) == file.size for key, file in files.items()) else None


def current(name: str) -> CatalogImage:
    """The newest published image of that name. Raises CatalogError when there is none."""
    link = root() / name / "current"
    try:
        input_hash = os.readlink(link)
    except OSError:
        raise CatalogError(f"no image {name!r} in {root()}; run: pileus image build {name}") from None
    image = find(name, input_hash)
    if image is None:
        raise CatalogError(f"image {name!r} in {link} is damaged; run: pileus image build {name}")
    return image


def images() -> list[CatalogImage]:
    """Every published image, by name and input hash."""
    folders = sorted(path.parent for path in root().glob(f"*/*/{MANIFEST}") if not path.parent.is_symlink())
    return [CatalogImage(path.parent.name, path.name, path) for path in folders]


def publish(name: str, input_hash: str, folder: Path) -> CatalogImage:
    """Move a complete folder (same file system) into the catalog and make it `current`."""
    target = root() / name / input_hash
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        shutil.rmtree(target)  # damaged, or `find` would have found it
    folder.chmod(0o755)
    os.replace(folder, target)
    make_current(name, input_hash)
    return CatalogImage(name, input_hash, target)


def make_current(name: str, input_hash: str) -> None:
    """Point `current` at this image, in one step."""
    if is_current(CatalogImage(name, input_hash, root() / name / input_hash)):
        return
    link = root() / name / "current"
    scratch = link.with_name(f".current.{os.getpid()}")
    scratch.unlink(missing_ok=True)
    scratch.symlink_to(input_hash)
    os.replace(scratch, link)


def is_current(image: CatalogImage) -> bool:
    """Whether `current` points at this image."""
    link = root() / image.name / "current"
    return link.is_symlink() and os.readlink(link) == image.input_hash


def prune(name: str) -> list[CatalogImage]:
    """Delete every image of that name but the current one; returns what was deleted.

    Disks of running VMs are overlays on host-side copies, never on the catalog.
    """
    keep = current(name)
    gone = [image for image in images() if image.name == name and image.input_hash != keep.input_hash]
    for image in gone:
        shutil.rmtree(image.folder)
    return gone


def root() -> Path:
    """Folder of the catalog."""
    return cache() / "images"
