"""The hash of all that decides an image: equal hash, equal image; so nothing is built twice."""

import hashlib
import importlib.metadata
from pathlib import Path

from images.builder.debian import Archive
from images.builder.errors import RecipeError
from images.builder.paths import Source
from images.builder.recipe import Recipe
from images.builder.runtime import pileus_version
from images.builder.tar import walk
from systemvm.engine.command import run

#: Modules of the builder that bring nothing into an image.
_WITHOUT_EFFECT = frozenset(
    {"__init__.py", "boot.py", "check.py", "errors.py", "monitor.py", "pipeline.py", "progress.py"}
)
_PYTHON_TOOLS = ("ansible-core", "debsbom", "diskimage-builder", "pip")
#: Debian packages of this machine whose programs shape the result.
_TOOLS = (
    *("cpio", "dosfstools", "e2fsprogs", "genimage", "grub-common", "grub-pc-bin"),
    *("mmdebstrap", "mtools", "qemu-utils", "tar"),
)
_SHOWN = 16


def collect(recipe: Recipe, archive: Archive, source: Source = Source()) -> dict[str, str]:
    """Every input by name, with its digest or version. Raises RecipeError for what does not exist."""
    inputs = {"debian archive": archive.state(), "pileus": pileus_version(source.root)}
    for path in _files(recipe, source):
        mode = "x" if path.stat().st_mode & 0o100 else "-"
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        inputs[str(path.relative_to(source.root))] = f"{mode}{digest}"
    for name in _PYTHON_TOOLS:
        inputs[f"tool {name}"] = importlib.metadata.version(name)
    listed = run(("dpkg-query", "--show", "--showformat=${Package} ${Version}\n", *_TOOLS), accept=(0, 1))
    for line in listed.stdout.splitlines():
        name, _, version = line.partition(" ")
        inputs[f"tool {name}"] = version
    return inputs


def digest(inputs: dict[str, str]) -> str:
    """The input hash, shortened to what names a folder."""
    whole = hashlib.sha256()
    for name, value in sorted(inputs.items()):
        whole.update(f"{name}\0{value}\0".encode())
    return whole.hexdigest()[:_SHOWN]


def _files(recipe: Recipe, source: Source) -> list[Path]:
    named = [
        source.recipes / f"{recipe.name}.toml",
        *(source.elements / name for name in recipe.tree.elements if (source.elements / name).is_dir()),
        *(source.playbooks / "roles" / name for name in recipe.tree.roles),
        *([source.playbooks / "image.yml"] if recipe.tree.play else []),
        *(source.root / name for name in recipe.tree.inputs),
    ]
    for path in named:
        if not path.exists():
            raise RecipeError(
                f"{recipe.name}: the recipe names {path.relative_to(source.root)}, which is missing"
            )
    builder = [path for path in walk(source.builder) if path.name not in _WITHOUT_EFFECT]
    return sorted({path for root in named for path in walk(root)}.union(builder))
