"""Changing many files at once, so that a full disk or a crash leaves the old ones.

`prepare` writes every new file beside its target and links every old one away: all the space a change
needs is taken before anything changes. After that `commit` and `undo` are renames only. Nothing here is
fsynced: what must survive a power loss is the recorded document, from which a machine renders its files
again when it starts.
"""

import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from systemvm.engine.service import File

#: Endings of the prepared and of the kept file; with a leading dot they are invisible to daemons that
#: read a whole folder (dnsmasq(8), --dhcp-hostsdir).
_NEW, _OLD = ".pileus-new", ".pileus-old"


def under(root: Path, path: str) -> Path:
    """An absolute path of the machine, below `root`. Raises ValueError for one that escapes."""
    if not path.startswith("/") or ".." in Path(path).parts:
        raise ValueError(f"{path!r} is no absolute, plain path")
    return root / path.lstrip("/")


class Swap:
    """The change below `root` from the files `old`, of an earlier rendering, to the files `new`."""

    def __init__(self, root: Path, new: Iterable[File], old: Iterable[File]) -> None:
        self._new = {under(root, file.path): file for file in new}
        self._unwanted = [path for file in old if (path := under(root, file.path)) not in self._new]
        self._written: list[Path] = []
        self._kept: list[Path] = []

    def prepare(self) -> None:
        """Take all space that is needed. Raises OSError, with nothing changed, when there is none."""
        # A crash may have left some.
        self.discard()
        try:
            for target, file in self._new.items():
                if not is_as(target, file):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    write_file(_beside(target, _NEW), file)
                    self._written.append(target)
                    self._keep(target)
            for target in self._unwanted:
                self._keep(target)
        except BaseException:
            self.discard()
            raise

    def commit(self) -> None:
        """Put the new files in place and take away those that are no longer wanted."""
        for target in self._written:
            os.replace(_beside(target, _NEW), target)
        for target in self._unwanted:
            target.unlink(missing_ok=True)

    def undo(self) -> None:
        """Before or after `commit`, or in its middle: the old files back, the new ones away."""
        for target in self._written:
            target.unlink(missing_ok=True)
        for target in self._kept:
            # The second of two links to one file: replace would do nothing when the target is the same.
            target.unlink(missing_ok=True)
            os.replace(_beside(target, _OLD), target)
        self.discard()

    def discard(self) -> None:
        """Remove what `prepare` made; after it a change is final."""
        for target in (*self._new, *self._unwanted):
            _beside(target, _NEW).unlink(missing_ok=True)
            _beside(target, _OLD).unlink(missing_ok=True)
        self._written, self._kept = [], []

    def _keep(self, target: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.link(target, _beside(target, _OLD))
            self._kept.append(target)


def is_as(target: Path, file: File) -> bool:
    """Whether a file has the content and the mode of a rendering."""
    try:
        same_mode = target.stat().st_mode & 0o7777 == file.mode
        return same_mode and target.read_bytes() == file.text.encode()
    except FileNotFoundError:
        return False


def write_file(target: Path, file: File) -> None:
    """Write a rendered file to another place than its own, with its mode and owner."""
    # Opened with its final mode at most: a secret is never readable, not even for a moment.
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, file.mode)
    with os.fdopen(handle, "wb") as stream:
        stream.write(file.text.encode())
        os.fchmod(stream.fileno(), file.mode)
    if file.owner or file.group:
        shutil.chown(target, file.owner or None, file.group or None)  # type: ignore[arg-type]


def _beside(target: Path, ending: str) -> Path:
    return target.with_name(f".{target.name}{ending}")
