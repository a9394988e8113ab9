"""What is in an image: packages of the tree, files of the publication, the inputs it was made from."""

import hashlib
from collections.abc import Mapping
from email.parser import HeaderParser
from pathlib import Path

import msgspec
from msgspec import Struct

from images.builder.errors import BuildError
from images.builder.recipe import Recipe
from systemvm.engine.command import run

_BLOCK = 1024 * 1024
_TIMEOUT = 60.0


class Package(Struct, frozen=True, order=True):
    """One installed package; `kind` is "deb" or "python"."""

    kind: str
    name: str
    version: str


class File(Struct, frozen=True):
    """One published file; `size` in bytes."""

    size: int
    sha256: str


class Manifest(Struct, frozen=True, kw_only=True):
    """Everything a reader of the catalog wants to know of an image; equal builds have equal manifests."""

    version: int = 1
    name: str
    summary: str
    input_hash: str
    epoch: int
    hostname: str
    kernel_version: str
    cmdline: str
    inputs: dict[str, str]
    files: dict[str, File]
    packages: tuple[Package, ...]


def packages_of(tree: Path) -> tuple[Package, ...]:
    """Debian packages by the tree's own database, and Python packages of the runtime by their metadata."""
    found = {Package("python", *_python_package(path)) for path in tree.glob("opt/pileus/lib/*.dist-info")}
    database = tree / "var" / "lib" / "dpkg"
    if not (database / "status").is_file():
        raise BuildError(
            "manifest", "the tree has no package database, var/lib/dpkg/status; keep it in the image"
        )
    form = "${db:Status-Status} ${Package} ${Version}\n"
    listed = run(("dpkg-query", f"--admindir={database}", "--show", f"--showformat={form}"), timeout=_TIMEOUT)
    for line in listed.stdout.splitlines():
        status, name, version = line.split()
        if status == "installed":
            found.add(Package("deb", name, version))
    return tuple(sorted(found))


def describe(path: Path) -> File:
    """Size and digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return File(path.stat().st_size, digest.hexdigest())


def compose(
    recipe: Recipe,
    input_hash: str,
    inputs: Mapping[str, str],
    folder: Path,
    packages: tuple[Package, ...],
    kernel_version: str,
) -> Manifest:
    """The manifest of a folder that holds all other files of a publication."""
    return Manifest(
        name=recipe.name,
        summary=recipe.summary,
        input_hash=input_hash,
        epoch=recipe.epoch,
        hostname=recipe.hostname,
        kernel_version=kernel_version,
        cmdline=(folder / "cmdline").read_text().strip(),
        inputs=dict(sorted(inputs.items())),
        files={path.name: describe(path) for path in sorted(folder.iterdir())},
        packages=packages,
    )


def encode(manifest: Manifest) -> bytes:
    """Readable JSON."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def _python_package(folder: Path) -> tuple[str, str]:
    headers = HeaderParser().parsestr((folder / "METADATA").read_text(), headersonly=True)
    return headers["Name"], headers["Version"]
