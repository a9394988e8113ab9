"""The local image catalog: images that `pileus image build` published on this machine."""

import re
from dataclasses import dataclass
from pathlib import Path

from appliance.hostagent.errors import NotFound

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True)
class CatalogImage:
    """One published image. `version` tells builds of it apart; paths are those of this very build."""

    name: str
    version: str
    folder: Path

    @property
    def disk(self) -> Path:
        """The qcow2 disk."""
        return self.folder / "disk.qcow2"

    @property
    def kernel(self) -> Path:
        """Kernel for direct boot."""
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """Initial RAM disk for direct boot."""
        return self.folder / "initrd"

    def cmdline(self) -> str:
        """The kernel command line that the image itself needs (root device, console)."""
        try:
            return (self.folder / "cmdline").read_text().strip()
        except FileNotFoundError:
            return ""


def find_image(images: Path, name: str) -> CatalogImage:
    """The current build of an image. Raises NotFound, saying how to build it."""
    current = images / name / "current"
    if not _NAME.fullmatch(name) or not (current / "disk.qcow2").is_file():
        raise NotFound(f"image {name!r} is not in {images}: build it with `pileus image build {name}`")
    folder = current.resolve()
    return CatalogImage(name, folder.name, folder)
