"""The root file system of an image: diskimage-builder with our elements, as a tar."""

import hashlib
import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path

import yaml

from images.builder.debian import Archive
from images.builder.errors import BuildError, RecipeError
from images.builder.paths import Source, cache
from images.builder.recipe import Recipe
from systemvm.engine.command import run
from systemvm.engine.errors import CommandError

BUILD_TIMEOUT = 1800.0
_STEP = "diskimage-builder"


def build_tree(recipe: Recipe, archive: Archive, source: Source, work: Path) -> Path:
    """Run the recipe's elements and play; returns the tar as diskimage-builder leaves it.

    `work` gets the log, `tree.log`. Raises BuildError with the end of that log.
    """
    variables = work / "variables.json"
    variables.write_text(json.dumps(_variables(recipe)))
    log = work / "tree.log"
    environment = _environment(recipe, archive, source, work, variables)
    argv = (
        *("env", "-i", f"--chdir={work}", *(f"{key}={value}" for key, value in environment.items())),
        *("disk-image-create", "-n", "-t", "tar", "-a", "amd64", "--no-tmpfs", "--logfile", str(log)),
        *("-o", str(work / "tree"), *recipe.tree.elements),
    )
    try:
        run(argv, timeout=BUILD_TIMEOUT)
    except CommandError as error:
        raise BuildError(_STEP, f"{_tail(log) or error}\nthe whole log is {log}") from None
    return work / "tree.tar"


def packages(recipe: Recipe, source: Source) -> list[str]:
    """Debian packages to be in the tree before the play runs, sorted: the recipe's and its roles'."""
    wanted = set(recipe.tree.packages)
    for role in recipe.tree.package_lists:
        path = source.playbooks / "roles" / role / "defaults" / "main.yml"
        name = f"{role}__packages"
        defaults = yaml.safe_load(path.read_text()) if path.is_file() else {}
        if not isinstance(defaults, dict) or not isinstance(defaults.get(name), list):
            raise RecipeError(
                f"{recipe.name}: tree.package_lists names {role!r}, but {path} has no list {name}"
            )
        wanted.update(defaults[name])
    return sorted(wanted)


def base_path(recipe: Recipe, archive: Archive, source: Source) -> Path:
    """Where the bootstrapped tree of this recipe is kept; its name says what it was made from."""
    element = (source.elements / "pileus-debian" / "root.d" / "10-bootstrap").read_bytes()
    parts = (
        archive.state(),
        ",".join(packages(recipe, source)),
        str(recipe.epoch),
        hashlib.sha256(element).hexdigest(),
    )
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    return cache() / "base" / f"{recipe.tree.release}-{key}.tar.zst"


def _variables(recipe: Recipe) -> dict[str, object]:
    """What every play of `image.yml` is told; a role reads only what it declares in its defaults."""
    return {"image_epoch": recipe.epoch, "image_python": sys.executable, "image_cache": str(cache())}


def _environment(
    recipe: Recipe, archive: Archive, source: Source, work: Path, variables: Path
) -> dict[str, str]:
    """All that the elements may read: a clean environment, or the machine's would shape the image."""
    if importlib.util.find_spec("diskimage_builder") is None:
        raise BuildError(_STEP, "not installed; run: pip install 'pileus[images]'")
    tools = Path(sys.executable).parent
    # Proxies, certificates and pip's settings say how this machine reaches package archives.
    passed = {
        key: value
        for key, value in os.environ.items()
        if key.lower().endswith("_proxy") or key.startswith(("PIP_", "SSL_"))
    }
    temporary = work / "tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    return {
        **passed,
        "PATH": f"{tools}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(work),
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",
        "SOURCE_DATE_EPOCH": str(recipe.epoch),
        "TMP_DIR": str(temporary),
        "ELEMENTS_PATH": str(source.elements),
        "DIB_RELEASE": recipe.tree.release,
        "DIB_IMAGE_CACHE": str(cache() / "dib"),
        "DIB_LOCKFILES": str(work / "locks"),
        "DIB_NO_TIMESTAMP": "0",
        "DIB_PYTHON_EXEC": sys.executable,
        "DIB_PYTHON_VERSION": "3",
        "DIB_SHOW_IMAGE_USAGE": "0",
        # MiB; the default of 64 does not fit into the work file system of a small tree.
        "DIB_JOURNAL_SIZE": "16",
        "PILEUS_BASE": str(base_path(recipe, archive, source)),
        "PILEUS_LISTS": str(archive.lists),
        "PILEUS_DEBS": str(archive.debs),
        "PILEUS_SOURCES": str(archive.sources),
        "PILEUS_PACKAGES": ",".join(packages(recipe, source)),
        "PILEUS_HOSTNAME": recipe.hostname,
        "PILEUS_PLAY": recipe.tree.play,
        "PILEUS_CONNECTION": recipe.tree.connection,
        "PILEUS_PLAYBOOKS": str(source.playbooks),
        "PILEUS_VARIABLES": str(variables),
        "PILEUS_PYTHON": sys.executable,
    }


def _tail(log: Path, lines: int = 30) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.is_file() else ""
