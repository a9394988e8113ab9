"""The Debian archive as the builder sees it: package lists kept on disk, so a build means one state of it.

apt runs on a root of its own under the cache; of the machine's apt only the mirror is taken. The lists
change only by `refresh`, and their digest is part of every image's input hash: a build is repeatable for
as long as the mirror still has those versions, and forever from a snapshot mirror (`$PILEUS_MIRROR`).
"""

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from images.builder.errors import BuildError
from images.builder.paths import cache
from systemvm.engine.command import run
from systemvm.engine.errors import CommandError
from systemvm.engine.files import write_atomic

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_NETWORK_TIMEOUT = 600.0


def machine_mirror() -> str:
    """Root of the mirror that this machine's own apt uses. Raises BuildError when it names none."""
    for site in run(("apt-get", "indextargets", "--format", "$(SITE)")).stdout.split():
        if site.rstrip("/").endswith("/debian"):
            return site.rstrip("/").removesuffix("/debian")
    raise BuildError(
        "package archive", "this machine's apt names no Debian mirror; set PILEUS_MIRROR to its root"
    )


@dataclass(frozen=True)
class Archive:
    """One Debian release at one recorded state."""

    release: str

    @property
    def root(self) -> Path:
        """Folder of this release's apt state."""
        return cache() / "apt" / self.release

    @property
    def lists(self) -> Path:
        """Folder with the package lists."""
        return self.root / "lists"

    @property
    def debs(self) -> Path:
        """Folder with every package that was ever downloaded."""
        return self.root / "debs"

    @property
    def sources(self) -> Path:
        """The sources.list of trees made from this archive."""
        return self.root / "sources.list"

    def state(self) -> str:
        """Digest of the signed release files, fetching lists only when there are none yet."""
        if not self._releases():
            self.refresh()
        digest = hashlib.sha256(self.sources.read_bytes())
        for path in self._releases():
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
        return digest.hexdigest()

    def refresh(self) -> None:
        """Ask the mirror for its current package lists. Raises BuildError when it does not answer."""
        mirror = os.environ.get("PILEUS_MIRROR") or machine_mirror()
        write_atomic(self.sources, _sources(mirror, self.release).encode())
        for folder in (self.lists / "partial", self.root / "cache" / "archives" / "partial", self.debs):
            folder.mkdir(parents=True, exist_ok=True)
        self._apt("apt-get", "--error-on=any", "update")

    def fetch(self, packages: Sequence[str]) -> dict[str, Path]:
        """The .deb files of these packages at the recorded state; downloads what is not kept yet."""
        self.state()
        wanted = {}
        for line in self._apt("apt-get", "--print-uris", "download", *packages).splitlines():
            # 'URI' file-name size hash; names carry an escaped epoch, "%3a".
            uri, name = line.split()[:2]
            wanted[name.partition("_")[0]] = (self.debs / name, uri)
        for package, (path, _) in wanted.items():
            if not path.is_file():
                self._download(package, path)
        return {package: path for package, (path, _) in wanted.items()}

    def _download(self, package: str, path: Path) -> None:
        """apt checks the download against the signed lists."""
        folder = self.root / "download"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._apt("env", f"--chdir={folder}", "apt-get", "download", package)
        os.replace(folder / path.name, path)

    def _releases(self) -> list[Path]:
        return sorted(self.lists.glob("*InRelease")) if self.sources.is_file() else []

    def _apt(self, *argv: str) -> str:
        options = {
            "Dir::State": self.root,
            "Dir::State::Lists": self.lists,
            "Dir::State::status": "/dev/null",
            "Dir::Cache": self.root / "cache",
            "Dir::Etc::sourcelist": self.sources,
            "Dir::Etc::sourceparts": "/dev/null",
            "Acquire::Languages": "none",
            "APT::Architecture": "amd64",
            "APT::Sandbox::User": "root",  # the cache is root's; a sandboxed apt could not write there
        }
        settings = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        try:
            return run((*argv, *settings), timeout=_NETWORK_TIMEOUT).stdout
        except CommandError as error:
            said = f"{error}; if versions are gone from the mirror, build with --refresh"
            raise BuildError("package archive", said) from None


def _sources(mirror: str, release: str) -> str:
    suites = (
        ("debian", release),
        ("debian", f"{release}-updates"),
        ("debian-security", f"{release}-security"),
    )
    return "".join(f"deb [signed-by={KEYRING}] {mirror}/{path} {suite} main\n" for path, suite in suites)
