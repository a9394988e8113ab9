"""Volumes: qcow2 files in pool folders, overlays on cached templates; always opened with a named format."""

import errno
import os
import shutil
import threading
from pathlib import Path

from appliance.hostagent.errors import Conflict, NoRoom, NotFound, Refused
from appliance.hostagent.image_header import read_backing, read_header
from appliance.hostagent.templates import Say, TemplateCache
from systemvm.engine.command import run
from systemvm.engine.errors import CommandError
from systemvm.spec.host import HostVolume, Volume

_SUFFIX = ".qcow2"
#: What lies beside volumes while they are made.
_UNFINISHED = (".new", ".part", ".part.origin")


class VolumeStore:
    """Volumes in `pools` (name to folder).

    A volume that was made for itself, or detached, is marked (`<uuid>.keep`): it then outlives every VM
    that it is attached to. The others go with their VM.
    """

    def __init__(self, pools: dict[str, Path], templates: TemplateCache) -> None:
        self._pools = pools
        self._templates = templates

    def path(self, volume: Volume) -> Path:
        """The file of a volume. Raises Refused for an unknown pool."""
        if volume.pool not in self._pools:
            raise Refused(
                f"volume {volume.id}: no pool {volume.pool!r} here; there is {', '.join(self._pools)}"
            )
        return self._pools[volume.pool] / f"{volume.id}{_SUFFIX}"

    def find(self, volume_id: str) -> Path | None:
        """The file of a volume, whichever pool it is in."""
        candidates = (folder / f"{volume_id}{_SUFFIX}" for folder in self._pools.values())
        return next((path for path in candidates if path.exists()), None)

    def volume_of(self, path: Path) -> str:
        """The id of the volume in a file; empty if it is none of ours."""
        ours = path.suffix == _SUFFIX and path.parent in self._pools.values()
        return path.stem if ours else ""

    def ensure(self, volume: Volume, say: Say, cancelled: threading.Event) -> bool:
        """Make the volume unless it exists; True if it was made. Raises HostError, CommandError."""
        if self.path(volume).exists():
            return False
        self.replace(volume, say, cancelled)
        return True

    def replace(self, volume: Volume, say: Say, cancelled: threading.Event) -> None:
        """Make the volume; one of that id that exists is lost in the end. Raises HostError, CommandError."""
        path = self.path(volume)
        # Under another name first: a volume that exists is always a whole one.
        temporary = path.with_suffix(".new")
        temporary.unlink(missing_ok=True)
        try:
            self._make(temporary, volume, say, cancelled)
            temporary.chmod(0o600)
            os.replace(temporary, path)
        except (CommandError, OSError) as error:
            if not _is_full(error):
                raise
            raise NoRoom(self._full(volume, path.parent)) from error
        finally:
            temporary.unlink(missing_ok=True)

    def clear_unfinished(self) -> list[str]:
        """Remove what an agent that was killed had begun to make; the names. Only before any work begins."""
        left = [path for suffix in _UNFINISHED for path in self.leftovers(suffix)]
        for path in left:
            path.unlink(missing_ok=True)
        return sorted(path.name for path in left)

    def bases(self) -> set[Path]:
        """The files that volumes, also unfinished ones, are based on."""
        volumes = [path for suffix in (_SUFFIX, ".new") for path in self.leftovers(suffix)]
        return {base for path in volumes if (base := read_backing(path)) is not None}

    def _full(self, volume: Volume, folder: Path) -> str:
        free = shutil.disk_usage(folder).free
        return (
            f"volume {volume.id} of {volume.bytes} bytes: pool {volume.pool} has {free} bytes free:"
            " delete volumes, or give the pool more room"
        )

    def _make(self, path: Path, volume: Volume, say: Say, cancelled: threading.Event) -> None:
        if volume.base is None or not volume.base.once:
            base = self._templates.base(volume.base, say, cancelled) if volume.base else None
            say(f"making volume {volume.id}")
            run(_create_argv(path, volume.bytes, base))
            return
        self._templates.take(volume.base, path, say, cancelled)
        header = read_header(path)
        if header.format != "qcow2":
            raise Refused(f"volume {volume.id}: what it is to be made of is {header.format}, not qcow2")
        if header.virtual_size < volume.bytes:
            run(("qemu-img", "resize", "-f", "qcow2", str(path), str(volume.bytes)))

    def grow(self, volume: Volume) -> bool:
        """Grow a volume that no running VM has to its wanted size; True if it grew. Never shrinks."""
        path = self.path(volume)
        if not self.is_smaller(volume):
            return False
        run(("qemu-img", "resize", "-f", "qcow2", str(path), str(volume.bytes)))
        return True

    def is_smaller(self, volume: Volume) -> bool:
        """Whether the file is smaller than wanted. Raises Refused when it would have to shrink."""
        size = read_header(self.path(volume)).virtual_size
        if volume.bytes < size and volume.base is None:
            raise Refused(f"volume {volume.id} has {size} bytes and cannot shrink to {volume.bytes}")
        return size < volume.bytes

    def leftovers(self, suffix: str) -> list[Path]:
        """Files of another kind that lie beside the volumes."""
        return [path for folder in self._pools.values() for path in folder.glob(f"*{suffix}")]

    def keep(self, volume_id: str) -> None:
        """Let it outlive the VM that it is attached to."""
        path = self.find(volume_id)
        if path is not None:
            path.with_suffix(".keep").touch(mode=0o600)

    def is_kept(self, volume_id: str) -> bool:
        """Whether it outlives its VM."""
        path = self.find(volume_id)
        return path is not None and path.with_suffix(".keep").exists()

    def delete(self, volume_id: str, attached: dict[str, str]) -> None:
        """Remove it; gone already is fine. `attached` maps volumes to VMs. Raises Conflict."""
        if volume_id in attached:
            raise Conflict(f"volume {volume_id} is attached to VM {attached[volume_id]}: detach it first")
        path = self.find(volume_id)
        if path is not None:
            path.unlink()
            path.with_suffix(".keep").unlink(missing_ok=True)

    def get(self, volume_id: str, attached: dict[str, str]) -> HostVolume:
        """One volume. Raises NotFound."""
        path = self.find(volume_id)
        if path is None:
            raise NotFound(f"no volume {volume_id} on this host")
        return self._describe(path, attached)

    def list(self, attached: dict[str, str]) -> list[HostVolume]:
        """All volumes of all pools."""
        return [
            self._describe(path, attached)
            for folder in self._pools.values()
            for path in sorted(folder.glob(f"*{_SUFFIX}"))
        ]

    def _describe(self, path: Path, attached: dict[str, str]) -> HostVolume:
        pool = next(name for name, folder in self._pools.items() if folder == path.parent)
        return HostVolume(
            id=path.stem,
            pool=pool,
            bytes=read_header(path).virtual_size,
            allocated=path.stat().st_blocks * 512,
            domain=attached.get(path.stem, ""),
        )


def _is_full(error: CommandError | OSError) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOSPC
    return os.strerror(errno.ENOSPC) in error.stderr


def _create_argv(path: Path, size: int, base: Path | None) -> tuple[str, ...]:
    if base is None:
        return ("qemu-img", "create", "-q", "-f", "qcow2", str(path), str(size))
    header = read_header(base)
    # A disk smaller than its template would cut the file system on it.
    size = max(size, header.virtual_size)
    backing = ("-F", header.format, "-b", str(base))
    return ("qemu-img", "create", "-q", "-f", "qcow2", *backing, str(path), str(size))
