"""The Python runtime of a system VM as one tar: pinned wheels, the `systemvm` package and noVNC.

`python -m images.builder.runtime OUT.tar --epoch N` is what the role `systemvm` calls on the controller,
for an image build, for Vagrant and for a rollout alike; the machine itself needs no pip and no network.
The same inputs give the same bytes.
"""

import shutil
import sys
import tempfile
import tomllib
from pathlib import Path

import click

from images.builder.debian import Archive
from images.builder.errors import BuildError
from images.builder.paths import REPOSITORY
from images.builder.tar import write_tar
from systemvm.engine.command import run
from systemvm.engine.errors import CommandError

REQUIREMENTS = REPOSITORY / "systemvm" / "requirements.txt"
#: Wheels are chosen for the system VM's Python, whichever runs the builder.
_TARGET = ("--python-version", "3.13", "--implementation", "cp", "--only-binary=:all:")
_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
_TIMEOUT = 600.0


def build_runtime(out: Path, epoch: int, archive: Archive) -> None:
    """Write the tar, rooted at /opt/pileus: `lib` (import path), `novnc`. Raises BuildError."""
    with tempfile.TemporaryDirectory(prefix="pileus-runtime-") as folder:
        root = Path(folder) / "root"
        _install_wheels(root / "lib")
        _copy_systemvm(root / "lib" / "systemvm")
        _write_metadata(root / "lib")
        _unpack_novnc(root / "novnc", archive, Path(folder) / "deb")
        write_tar(root, out, epoch)


def _install_wheels(target: Path) -> None:
    platforms = [word for name in _PLATFORMS for word in ("--platform", name)]
    argv = (
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--root-user-action=ignore", "--no-compile", "--no-deps", "--require-hashes"),
        *("--target", str(target), *_TARGET, *platforms, "--requirement", str(REQUIREMENTS)),
    )
    try:
        run(argv, timeout=_TIMEOUT)
    except CommandError as error:
        raise BuildError("Python packages of the system VM", str(error)) from None
    # Scripts name this machine's Python, so pip's records of them would differ from machine to machine.
    shutil.rmtree(target / "bin", ignore_errors=True)
    for record in target.glob("*.dist-info/RECORD"):
        record.unlink()
    for tests in [*target.glob("*/tests"), *target.glob("*/test")]:
        shutil.rmtree(tests)


def _copy_systemvm(target: Path) -> None:
    shutil.copytree(
        REPOSITORY / "systemvm", target, ignore=shutil.ignore_patterns("__pycache__", "requirements.txt")
    )


def pileus_version(root: Path = REPOSITORY) -> str:
    """Version of a checkout."""
    return str(tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"])


def _write_metadata(lib: Path) -> None:
    """What `importlib.metadata` reads: the agent tells its version, the manifest lists it."""
    version = pileus_version()
    folder = lib / f"pileus-{version}.dist-info"
    folder.mkdir()
    text = f"Metadata-Version: 2.1\nName: pileus\nVersion: {version}\nLicense: Apache-2.0\n"
    (folder / "METADATA").write_text(text)


def _unpack_novnc(target: Path, archive: Archive, scratch: Path) -> None:
    """Only the web page of Debian's package; its command-line part would pull in Node."""
    deb = archive.fetch(("novnc",))["novnc"]
    run(("dpkg-deb", "--extract", str(deb), str(scratch)), timeout=_TIMEOUT)
    page = scratch / "usr" / "share" / "novnc"
    # Of the package's own folders only: the page imports modules from folders of such names.
    unwanted = {"utils", "include"}
    shutil.copytree(
        page, target, ignore=lambda folder, names: unwanted & set(names) if Path(folder) == page else set()
    )
    shutil.copy(scratch / "usr" / "share" / "doc" / "novnc" / "copyright", target / "copyright")


@click.command()
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--epoch", type=int, required=True, help="Every time stamp in the tar, seconds since 1970.")
@click.option("--release", default="trixie", show_default=True, help="Debian release noVNC is taken from.")
def main(out: Path, epoch: int, release: str) -> None:
    """Write the Python runtime of a system VM to OUT, a tar rooted at /opt/pileus."""
    build_runtime(out, epoch, Archive(release))


if __name__ == "__main__":
    main()
