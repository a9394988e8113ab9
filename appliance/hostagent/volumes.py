"""Volumes: qcow2 files in pool folders, overlays on cached templates; always opened with a named format."""

import contextlib
import errno
import os
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path

from appliance.hostagent.errors import Conflict, NoRoom, NotFound, Refused
from appliance.hostagent.image_header import read_backing, read_header
from appliance.hostagent.shared_pools import TEMPLATES, SharedPools
from appliance.hostagent.shared_templates import SharedTemplateCache
from appliance.hostagent.templates import Say, TemplateCache
from systemvm.engine.command import run
from systemvm.engine.errors import CommandError
from systemvm.engine.files import put_in_place
from systemvm.spec.host import HostVolume, Volume

#: Files to the VMs that have them, running or by their definitions.
Attachments = Mapping[Path, str]
_SUFFIX = ".qcow2"
#: What lies beside volumes while they are made.
_UNFINISHED = (".new", ".part", ".part.origin")


class VolumeStore:
    """Volumes in `pools` (name to folder), the host's own, and in `shared` ones.

    A volume that was made for itself, or detached, is marked (`<uuid>.keep`): it then outlives every VM
    that it is attached to. The others go with their VM.
    """

    def __init__(
        self, pools: dict[str, Path], templates: TemplateCache, shared: SharedPools | None = None
    ) -> None:
        self._pools = pools
        self._templates = templates
        self._shared = shared
        self._shared_templates: dict[str, TemplateCache] = {}

    def path(self, volume: Volume) -> Path:
        """The file of a volume. Raises Refused for an unknown pool, PoolLost for one that is not mounted."""
        folder = self._pools.get(volume.pool)
        if folder is None and self._shared is not None:
            folder = self._shared.folder(volume.pool)
        if folder is None:
            raise Refused(
                f"volume {volume.id}: no pool {volume.pool!r} here; there is {', '.join(self.pools())}"
            )
        return folder / f"{volume.id}{_SUFFIX}"

    def pools(self) -> dict[str, Path]:
        """Folders of the pools that can be reached now, by what mgmt calls them."""
        return {**self._pools, **(self._shared.reached() if self._shared else {})}

    def find(self, volume_id: str, pool: str = "") -> Path | None:
        """The file of a volume, whichever pool it is in, or in that one."""
        folders = (folder for name, folder in self.pools().items() if pool in ("", name))
        candidates = (folder / f"{volume_id}{_SUFFIX}" for folder in folders)
        return next((path for path in candidates if path.exists()), None)

    def find_used(self, volume_id: str, attached: Attachments) -> Path | None:
        """The file of a volume that a VM has; any if none has. A volume that moves has two."""
        used = (path for path in attached if self.volume_of(path) == volume_id)
        return next(used, None) or self.find(volume_id)

    def volume_of(self, path: Path) -> str:
        """The id of the volume in a file; empty if it is none of ours."""
        if path.suffix != _SUFFIX:
            return ""
        is_ours = path.parent in self._pools.values() or path.parent in self._shared_folders()
        return path.stem if is_ours else ""

    def unfinished(self, path: Path, suffix: str, name: str = "") -> Path:
        """Where something is made that `path` or a neighbour `name` will be; other hosts' is named apart."""
        mark = f".{self._shared.host}" if self._shared and path.parent in self._shared_folders() else ""
        return path.with_name(f"{name or path.stem}{mark}{suffix}")

    def templates_for(self, path: Path) -> TemplateCache:
        """The cache that a volume in this file is based on: a shared pool has its own."""
        found = ((key, one) for key, one in self._shared_items() if one == path.parent)
        key, folder = next(found, ("", None))
        if folder is None or self._shared is None:
            return self._templates
        if key not in self._shared_templates:
            cache = SharedTemplateCache.beside(self._templates, folder / TEMPLATES, self._shared.host)
            self._shared_templates[key] = cache
        return self._shared_templates[key]

    def _shared_items(self) -> list[tuple[str, Path]]:
        return list(self._shared.known().items()) if self._shared else []

    def _shared_folders(self) -> list[Path]:
        return [folder for _key, folder in self._shared_items()]

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
        temporary = self.unfinished(path, ".new")
        temporary.unlink(missing_ok=True)
        try:
            self._make(temporary, volume, say, cancelled)
            temporary.chmod(0o600)
            put_in_place(temporary, path)
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
            base = self.templates_for(path).base(volume.base, say, cancelled) if volume.base else None
            say(f"making volume {volume.id}")
            run(create_argv(path, volume.bytes, base))
            return
        self.templates_for(path).take(volume.base, path, say, cancelled)
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
        """Files of another kind that lie beside the volumes; of those in shared pools, this host's own."""
        mine = [path for folder in self._pools.values() for path in folder.glob(f"*{suffix}")]
        if self._shared is None:
            return mine
        pattern = f"*.{self._shared.host}{suffix}"
        return mine + [path for folder in self._shared.reached().values() for path in folder.glob(pattern)]

    def keep(self, volume_id: str, pool: str = "") -> None:
        """Let it outlive the VM that it is attached to."""
        path = self.find(volume_id, pool)
        if path is not None:
            self.keep_file(path)

    def keep_file(self, path: Path) -> None:
        """Let a volume in this file outlive its VM."""
        if path.exists():
            path.with_suffix(".keep").touch(mode=0o600)

    def remove_file(self, path: Path) -> None:
        """Remove a volume that a VM had in this file, unless it outlives it. Raises PoolLost."""
        if path.with_suffix(".keep").exists():
            return
        if not path.exists() and self._shared is not None:
            self._shared.require_all()  # it may be in one that is not mounted
        path.unlink(missing_ok=True)

    def delete(self, volume_id: str, attached: Attachments, pool: str = "") -> None:
        """Remove it, of that pool alone if one is named; gone already is fine. Raises Conflict, PoolLost."""
        path = self.find(volume_id, pool) if pool else self.find_used(volume_id, attached)
        if path is not None and path in attached:
            raise Conflict(f"volume {volume_id} is attached to VM {attached[path]}: detach it first")
        if path is not None:
            path.unlink(missing_ok=True)
            path.with_suffix(".keep").unlink(missing_ok=True)
        elif self._shared is not None and pool not in self._pools:
            self._shared.require_all()  # it may be in one that is not mounted

    def get(self, volume_id: str, attached: Attachments) -> HostVolume:
        """One volume. Raises NotFound."""
        path = self.find_used(volume_id, attached)
        if path is None:
            raise NotFound(f"no volume {volume_id} on this host")
        return self._describe(path, attached)

    def list(self, attached: Attachments) -> list[HostVolume]:
        """All volumes of all pools."""
        found = []
        for folder in self.pools().values():
            for path in sorted(folder.glob(f"*{_SUFFIX}")):
                with contextlib.suppress(FileNotFoundError):  # another host removed it just now
                    found.append(self._describe(path, attached))
        return found

    def _describe(self, path: Path, attached: Attachments) -> HostVolume:
        pools = (*self._pools.items(), *self._shared_items())
        pool = next(name for name, folder in pools if folder == path.parent)
        return HostVolume(
            id=path.stem,
            pool=pool,
            bytes=read_header(path).virtual_size,
            allocated=path.stat().st_blocks * 512,
            domain=attached.get(path, ""),
        )


def _is_full(error: CommandError | OSError) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOSPC
    return os.strerror(errno.ENOSPC) in error.stderr


def create_argv(path: Path, size: int, base: Path | None) -> tuple[str, ...]:
    """How a volume's file is made."""
    if base is None:
        return ("qemu-img", "create", "-q", "-f", "qcow2", str(path), str(size))
    header = read_header(base)
    # A disk smaller than its template would cut the file system on it.
    size = max(size, header.virtual_size)
    backing = ("-F", header.format, "-b", str(base))
    return ("qemu-img", "create", "-q", "-f", "qcow2", *backing, str(path), str(size))
