"""`pileus restore FILE`: the management state as it was when the backup was made.

Everything is unpacked, checked and put together beside its place; then it takes that place by renames, and
what was there is kept. A PostgreSQL database is replaced in one transaction, after a dump of it.
"""

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from appliance.backup.archive import read_archive
from appliance.backup.backup import DATABASE, FILES, KEY, PKI, SETTINGS
from appliance.backup.databases import (
    DUMP,
    dump_postgres,
    restore_postgres,
    servers_on,
    sqlite_files,
    tables_of,
)
from appliance.backup.manifest import BackupRefused, Manifest
from mgmt.bootstrap import occupied
from mgmt.config import MgmtConfig, load_config, save_config
from mgmt.store.database import is_sqlite


@dataclass(frozen=True)
class Restored:
    """What was restored, and where the files are that were there before."""

    manifest: Manifest
    kept: tuple[Path, ...]


@dataclass(frozen=True)
class _Move:
    new: Path
    place: Path


def restore(
    home: Path, file: Path, *, force: bool = False, database_url: str = "", user: str = ""
) -> Restored:
    """Put the backup in `file` in place of what is in `home`; `force` allows that there is something.

    `database_url` is where a PostgreSQL database is now, `user` whose files they become. Raises
    BackupRefused or OSError, and then all is as it was; `Occupied` while a management server runs here.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (
        occupied(home) if (home / "mgmt").exists() else nullcontext(),
        tempfile.TemporaryDirectory(prefix=".restore-", dir=home) as scratch,
    ):
        content, new = Path(scratch) / "content", Path(scratch) / "new"
        content.mkdir()
        manifest = read_archive(file, content)
        config = _relocated(load_config(content), Path(manifest.home), home)
        if database_url:
            config = msgspec.structs.replace(config, database_url=database_url)
        if is_sqlite(config.database_url) != (manifest.database == "sqlite"):
            raise BackupRefused(
                f"{file} holds a {manifest.database} database; --database must name one of that kind"
            )
        moves = _assemble(content, new, home, config)
        tables = [] if is_sqlite(config.database_url) else _tables_to_replace(config.database_url)
        _refuse_to_replace([move.place for move in moves if move.place.exists()], tables, force=force)
        _give(moves, user)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        dumped = _keep_database(config, home, stamp, Path(scratch)) if tables else ()
        with _swapped(moves, stamp) as kept:
            if not is_sqlite(config.database_url):
                restore_postgres(config.database_url, content / DATABASE / DUMP, Path(scratch))
    return Restored(manifest, (*kept, *dumped))


def _relocated(config: MgmtConfig, old: Path, new: Path) -> MgmtConfig:
    """The configuration, where paths in the old home are paths in the new one."""
    url = config.database_url
    if is_sqlite(url):
        store = _moved(sqlite_files(url)[0], old, new)
        if not store.is_relative_to(new / "mgmt"):
            raise BackupRefused(f"database {store} is outside of {new / 'mgmt'}: put it there by hand")
        url = f"sqlite:///{store}"
    paths = {"key_file": _moved(config.key_file, old, new), "pki_dir": _moved(config.pki_dir, old, new)}
    return msgspec.structs.replace(config, database_url=url, **paths)


def _moved(path: Path, old: Path, new: Path) -> Path:
    return new / path.relative_to(old) if path.is_relative_to(old) else path


def _assemble(content: Path, new: Path, home: Path, config: MgmtConfig) -> list[_Move]:
    """Put together what belongs below the server's folder; what else has its place elsewhere."""
    save_config(new, config)
    own = home / "mgmt"
    if (content / FILES).exists():
        shutil.copytree(content / FILES, new / "mgmt", dirs_exist_ok=True)
    if is_sqlite(config.database_url):
        for path in sqlite_files(config.database_url):
            if (content / DATABASE / path.name).exists():
                _put(content / DATABASE / path.name, new / path.relative_to(home))
    moves = [_Move(new / "mgmt", own)]
    for part, place in ((KEY, config.key_file), (PKI, config.pki_dir)):
        if place.is_relative_to(own):
            _put(content / part, new / place.relative_to(home))
        else:
            staged = place.with_name(f".{place.name}.restored")
            _put(content / part, staged)
            moves.append(_Move(staged, place))
    if (content / SETTINGS).exists():
        moves.append(_Move(content / SETTINGS, home / SETTINGS))
        (content / SETTINGS).chmod(0o644)
    for folder in [new / "mgmt", *(path for path in (new / "mgmt").rglob("*") if path.is_dir())]:
        folder.chmod(0o700)
    return moves


def _put(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copy(source, target)


def _tables_to_replace(url: str) -> list[str]:
    if servers_on(url):
        raise BackupRefused("management servers are connected to the database; stop all of them first")
    return tables_of(url)


def _refuse_to_replace(places: list[Path], tables: list[str], *, force: bool) -> None:
    if force or not (places or tables):
        return
    found = [*map(str, places), *(["a database with tables"] if tables else [])]
    raise BackupRefused(f"there is {', '.join(found)}; --force replaces it and keeps what was there aside")


def _keep_database(config: MgmtConfig, home: Path, stamp: str, scratch: Path) -> tuple[Path, ...]:
    dump_postgres(config.database_url, scratch, scratch)
    kept = home / f"database.before-{stamp}.dump"
    os.rename(scratch / DUMP, kept)
    kept.chmod(0o600)
    return (kept,)


def _give(moves: list[_Move], user: str) -> None:
    """Let the management server read what root restored."""
    try:
        entry = pwd.getpwnam(user) if user and os.geteuid() == 0 else None
    except KeyError:
        return  # `pileus up` makes the user, and gives it the files
    for move in moves:
        if entry is not None and move.place.name != SETTINGS:
            for path in (move.new, *move.new.rglob("*")):
                os.chown(path, entry.pw_uid, entry.pw_gid)


@contextmanager
def _swapped(moves: list[_Move], stamp: str) -> Iterator[tuple[Path, ...]]:
    """The new files in their places during the block, and for good if it ends well; gives the old ones."""
    done: list[tuple[_Move, Path]] = []
    try:
        for move in moves:
            aside = move.place.with_name(f"{move.place.name}.before-{stamp}")
            done.append((move, aside))
            if move.place.exists():
                os.rename(move.place, aside)
            os.rename(move.new, move.place)
        yield tuple(aside for _, aside in done if aside.exists())
    except BaseException:
        for move, aside in reversed(done):
            if move.place.exists() and not move.new.exists():
                os.rename(move.place, move.new)
            if aside.exists():
                os.rename(aside, move.place)
        raise
