"""A recipe: one image described as data, `images/recipes/<name>.toml`.

Everything that decides what an image is stands in its recipe, or in the elements, roles and input
files that the recipe names. Unknown keys are errors, so a misspelt one cannot be ignored in silence.
"""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from images.builder.errors import RecipeError
from images.builder.paths import Source

Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
Guid = Annotated[str, Meta(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
Mib = Annotated[int, Meta(ge=1, le=64 * 1024)]
Firmware = Literal["bios", "uefi"]


class Tree(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the root file system comes to be."""

    #: diskimage-builder elements, ours from `images/elements` first on the path.
    elements: tuple[str, ...]
    #: Debian release for elements that bootstrap one.
    release: str = "trixie"
    #: Debian packages present before the play runs.
    packages: tuple[str, ...] = ()
    #: Roles whose `<role>__packages` (in their defaults) are installed in the same transaction: the
    #: role stays the one truth and finds its work done.
    package_lists: tuple[str, ...] = ()
    #: Host group of `playbooks/image.yml` that is applied to the tree; "" for no play.
    play: str = ""
    #: Roles of that play: their files are inputs.
    roles: tuple[str, ...] = ()
    #: "chroot" runs Ansible's modules inside the tree (needs its python3); "local" on this machine,
    #: with the tree's path in the variable `image_tree`.
    connection: Literal["chroot", "local"] = "chroot"
    #: Globs in the tree that do not belong into the image.
    drop: tuple[str, ...] = ()
    #: Further files and folders of this repository whose content decides the result.
    inputs: tuple[str, ...] = ()


class Kernel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is booted, from the disk or directly."""

    #: Glob in the tree that matches one file.
    image: str = "boot/vmlinuz-*"
    #: Modules the initrd loads before it mounts root; their dependencies come along.
    modules: tuple[str, ...] = ("virtio_blk",)
    #: Whether modules are stored unpacked: larger on disk, much quicker to load where the processor is
    #: emulated; the compressed disk stays about the same.
    plain_modules: bool = False
    #: Kernel arguments besides `root=`, which the builder adds.
    cmdline: str = "console=ttyS0"


class Disk(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Layout: GPT with bios_grub, EFI system partition and ext4 root, in this order."""

    size_mib: Mib
    #: Firmwares that must boot the disk itself; none: only direct kernel boot.
    firmware: tuple[Firmware, ...] = ("bios", "uefi")
    disk_guid: Guid
    bios_guid: Guid
    esp_guid: Guid
    root_guid: Guid
    #: UUID of the root file system, by which kernel and GRUB find it.
    root_uuid: Guid
    #: ext4 label of the root file system.
    root_label: Annotated[str, Meta(max_length=16)] = "pileus-root"


class Check(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the built disk has to do before the image is published."""

    #: "agent": a system VM whose agent answers `GET /v1/health` with 200; "serial": prints `marker`;
    #: "guest": prints `marker`, answers HTTP on port 80 with its host name, shows something on its screen.
    kind: Literal["agent", "serial", "guest"]
    marker: str = ""
    memory_mib: Mib = 256
    timeout_seconds: Annotated[int, Meta(ge=1, le=1800)] = 180


class Recipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One image."""

    name: Name
    summary: str
    #: Every time stamp in the image, seconds since 1970 (reproducible-builds.org, SOURCE_DATE_EPOCH).
    epoch: Annotated[int, Meta(ge=315532800)]
    hostname: str
    tree: Tree
    kernel: Kernel = Kernel()
    disk: Disk
    check: Check


def load(name: str, source: Source = Source()) -> Recipe:
    """Read the recipe of an image by name. Raises RecipeError when it is missing or wrong."""
    path = source.recipes / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(names(source)) or "none"
        raise RecipeError(f"no recipe named {name!r}; there are: {known}")
    return read(path)


def read(path: Path) -> Recipe:
    """Read one recipe file. Raises RecipeError with the place of the mistake."""
    try:
        recipe = msgspec.toml.decode(path.read_bytes(), type=Recipe)
    except msgspec.MsgspecError as error:
        raise RecipeError(f"{path.name}: {error}") from None
    if recipe.name != path.stem:
        raise RecipeError(f"{path.name}: name is {recipe.name!r}; it must be the file's, {path.stem!r}")
    if recipe.check.kind != "agent" and not recipe.check.marker:
        kind = recipe.check.kind
        raise RecipeError(f"{path.name}: check.kind {kind!r} needs check.marker, the text to wait for")
    return recipe


def names(source: Source = Source()) -> list[str]:
    """Names of all recipes, sorted."""
    return sorted(path.stem for path in source.recipes.glob("*.toml"))
