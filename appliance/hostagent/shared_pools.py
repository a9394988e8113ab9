"""Shared pools: folders that the operator has mounted on several hosts, each under one path.

A file in the folder holds the pool's id. Where it is not to be read, something else is mounted, or nothing:
the folder is then left alone, because what is written there would be seen by no other host.
"""

import contextlib
import logging
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from appliance.hostagent.config import HostAgentConfig
from appliance.hostagent.errors import Conflict, HostError, Refused
from appliance.paths import Paths
from systemvm.engine.files import write_atomic
from systemvm.spec.host import PoolSpace, SharedPool

_log = logging.getLogger("pileus.host")
#: Holds the pool's id.
MARKER = ".pileus-pool"
#: Folder of the templates that the pool's volumes are based on.
TEMPLATES = "templates"
#: Paths that mean the same to a shell, to QEMU and to libvirt.
_PATH = re.compile(r"(/[A-Za-z0-9_][A-Za-z0-9._-]*)+")
_ID_LENGTH = 36


class PoolLost(HostError):
    """A shared pool is not mounted here, or something else is."""

    code = "pool_lost"
    status = 409


@dataclass(frozen=True)
class SharedPools:
    """The shared pools of this host: one file of `record` each. `own` are folders that none may overlap."""

    record: Path
    roots: tuple[str, ...]
    host: str
    own: tuple[Path, ...] = ()

    def connect(self, pool: SharedPool) -> PoolSpace:
        """Use a folder as the pool; twice is fine. Raises Refused, PoolLost, each naming the path."""
        folder = self._check(pool)
        if pool.is_new and _read_marker(folder) is None:
            self._mark(folder, pool.id)
        _require(folder, pool.id)
        self._try_to_write(folder)
        (folder / TEMPLATES).mkdir(mode=0o700, exist_ok=True)
        plain = msgspec.json.encode(SharedPool(id=pool.id, path=pool.path))
        if write_atomic(self._file(pool.id), plain, mode=0o600):
            _log.info("pool %s in %s is connected", pool.id, folder)
        return space(folder)

    def drop(self, pool_id: str) -> None:
        """Forget a pool that is given up, its mark and its templates; gone already is fine.

        Raises Conflict while there are volumes in it.
        """
        folder = self.known().get(pool_id)
        if folder is None:
            return
        if _read_marker(folder) == pool_id:
            if left := next(folder.glob("*.qcow2"), None):
                raise Conflict(f"pool {pool_id} in {folder} has volumes, as {left.stem}: delete them first")
            shutil.rmtree(folder / TEMPLATES, ignore_errors=True)
            (folder / MARKER).unlink(missing_ok=True)
        self._file(pool_id).unlink(missing_ok=True)
        _log.info("pool %s in %s is given up", pool_id, folder)

    def known(self) -> dict[str, Path]:
        """Folders of the pools that this host is connected to, mounted or not, by their ids."""
        records = (msgspec.json.decode(path.read_bytes(), type=SharedPool) for path in self._files())
        return {pool.id: Path(pool.path) for pool in records}

    def reached(self) -> dict[str, Path]:
        """Those that are mounted."""
        return {key: folder for key, folder in self.known().items() if _read_marker(folder) == key}

    def folder(self, pool_id: str) -> Path | None:
        """The folder of a pool; None if it is none of ours. Raises PoolLost when it is not mounted."""
        folder = self.known().get(pool_id)
        if folder is not None:
            _require(folder, pool_id)
        return folder

    def require_all(self) -> None:
        """Raise PoolLost unless all pools are mounted."""
        for key, folder in self.known().items():
            _require(folder, key)

    def _check(self, pool: SharedPool) -> Path:
        """The folder, if a pool may be there. Raises Refused."""
        where = f"shared pool {pool.path!r}"
        roots = [Path(root).resolve() for root in self.roots]
        if not _PATH.fullmatch(pool.path):
            raise Refused(f"{where}: a path of letters, digits and ._- is needed, as {self.roots[0]}/shared")
        folder = Path(pool.path)
        if not any(folder != root and folder.is_relative_to(root) for root in roots):
            raise Refused(f"{where}: this host takes pools below {', '.join(self.roots)} only")
        if folder.resolve() != folder:
            raise Refused(f"{where}: it is {folder.resolve()} by a symbolic link: name that")
        if not folder.is_dir():
            raise Refused(f"{where} is not a folder here: make and mount it")
        others = [path for key, path in self.known().items() if key != pool.id]
        if other := _overlapping(folder, [*self.own, *others]):
            raise Refused(f"{where} overlaps {other}, which is in use already: choose another folder")
        return folder

    def _mark(self, folder: Path, pool_id: str) -> None:
        mine = folder / f"{MARKER}.{self.host}"
        try:
            write_atomic(mine, pool_id.encode(), mode=0o600)
            with contextlib.suppress(FileExistsError):
                os.link(mine, folder / MARKER)  # whole, and by one host only
        except OSError as error:
            raise Refused(f"shared pool in {folder}: {error.strerror}: pools need hard links") from error
        finally:
            mine.unlink(missing_ok=True)

    def _try_to_write(self, folder: Path) -> None:
        trial = folder / f"{MARKER}.{self.host}"
        try:
            trial.write_bytes(b"")
            trial.unlink()
        except OSError as error:
            words = f"shared pool in {folder} cannot be written here: {error.strerror}: mount it writable"
            raise Refused(words) from error

    def _file(self, pool_id: str) -> Path:
        return self.record / f"{pool_id}.json"

    def _files(self) -> Iterable[Path]:
        return sorted(self.record.glob("*.json"))


def shared_pools_of(config: HostAgentConfig, paths: Paths) -> SharedPools:
    """Those of this host, also for its relay, which is another process."""
    own = (paths.home, paths.cache, *map(Path, config.pools.values()))
    return SharedPools(paths.shared_pools, config.pool_roots, config.host, own)


def space(folder: Path) -> PoolSpace:
    """Of the file system that a folder is in."""
    usage = shutil.disk_usage(folder)
    return PoolSpace(total=usage.total, free=usage.free)


def _require(folder: Path, pool_id: str) -> None:
    found = _read_marker(folder)
    if found is None:
        raise PoolLost(f"pool {pool_id} is not in {folder}, which has no {MARKER}: mount it there again")
    if found != pool_id:
        raise PoolLost(f"{folder} is pool {found}, not {pool_id}: mount the right file system there")


def _read_marker(folder: Path) -> str | None:
    """The id in a folder; None where no pool is."""
    try:
        descriptor = os.open(folder / MARKER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read(_ID_LENGTH).decode(errors="replace")


def _overlapping(folder: Path, others: Iterable[Path]) -> Path | None:
    found = (other for other in others if folder.is_relative_to(other) or other.is_relative_to(folder))
    return next(found, None)
