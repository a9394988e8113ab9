"""Room for templates: what nothing is based on and nobody asked for lately goes, the longest unused first."""

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

_log = logging.getLogger("pileus.host")
#: Seconds after its last use during which an entry stays: a volume that will be based on it is being made.
RECENT = 3600.0
#: Beginning of the names of catalog images: links, which take no room of their own.
CATALOG = "catalog-"


@dataclass
class Evictor:
    """Entries of `folder` that may go. `floor` is the share of its file system that should stay free.

    `in_use` tells the files that volumes are based on or that lie in a CD drive; None while nobody knows,
    and then nothing goes. Times within this process are monotonic; the order is by the files' own.
    """

    folder: Path
    floor: float
    in_use: Callable[[], set[Path] | None] = set
    monotonic: Callable[[], float] = time.monotonic
    _used: dict[Path, float] = field(default_factory=dict)

    def note(self, path: Path) -> None:
        """An entry is used now."""
        self._used[path] = self.monotonic()
        if not path.name.startswith(CATALOG):
            os.utime(path)

    def make_room(self) -> None:
        """Evict until the floor is free, or nothing is left that may go."""
        usage = shutil.disk_usage(self.folder)
        for path in self._candidates() if usage.free < usage.total * self.floor else ():
            self._evict(path)
            if shutil.disk_usage(self.folder).free >= usage.total * self.floor:
                return

    def evict_one(self) -> bool:
        """Evict the entry that was not used for the longest time; False if none may go."""
        path = next(self._candidates(), None)
        if path is not None:
            self._evict(path)
        return path is not None

    def _candidates(self) -> Iterator[Path]:
        protected = self.in_use()
        if protected is None:
            return
        entries = [path for path in self.folder.glob("*.img") if not path.name.startswith(CATALOG)]
        for path in sorted(entries, key=lambda path: path.stat().st_mtime):
            used = self._used.get(path)
            if path not in protected and (used is None or self.monotonic() - used > RECENT):
                yield path

    def _evict(self, path: Path) -> None:
        _log.info(
            "%s leaves the template cache, because room is needed and nothing is based on it", path.name
        )
        path.unlink()
        self._used.pop(path, None)
