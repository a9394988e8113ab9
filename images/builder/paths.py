"""Where the builder finds its sources and keeps its work."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

#: The checkout this builder works on.
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Source:
    """A checkout, or a copy of what images are made of."""

    root: Path = REPOSITORY

    @property
    def recipes(self) -> Path:
        """One file per image."""
        return self.root / "images" / "recipes"

    @property
    def elements(self) -> Path:
        """Our diskimage-builder elements."""
        return self.root / "images" / "elements"

    @property
    def playbooks(self) -> Path:
        """`image.yml` and the roles."""
        return self.root / "playbooks"

    @property
    def builder(self) -> Path:
        """This package."""
        return self.root / "images" / "builder"

    def copy(self, target: Path) -> "Source":
        """A copy that no editor touches while an image is made of it."""
        target.mkdir(parents=True)
        for name in ("images", "playbooks", "systemvm"):
            ignore = shutil.ignore_patterns("__pycache__", ".*")
            shutil.copytree(self.root / name, target / name, ignore=ignore, symlinks=True)
        shutil.copy(self.root / "pyproject.toml", target)
        return Source(target)


def cache() -> Path:
    """Root of everything that is kept between builds: `$PILEUS_CACHE`, default /var/cache/pileus."""
    return Path(os.environ.get("PILEUS_CACHE") or "/var/cache/pileus")
