"""`pileus backup FILE`: all that the management server knows, while it runs."""

import shutil
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from appliance.backup.archive import write_archive
from appliance.backup.databases import copy_sqlite, dump_postgres
from appliance.backup.manifest import FORMAT, BackupRefused, Manifest, describe
from mgmt.bootstrap import LOCK_FILE
from mgmt.config import FILE as CONFIG_FILE
from mgmt.config import MgmtConfig, load_config, save_config
from mgmt.store.database import Database, is_sqlite
from mgmt.store.migrate import fingerprint, newest, revision_of

SETTINGS = "pileus.json"
#: Folders within a backup: the key file, the PKI, databases, and what else is in the server's folder.
KEY, PKI, DATABASE, FILES = "secrets/seal.key", "secrets/pki", "database", "files"


def make_backup(home: Path, file: Path) -> Manifest:
    """Back up the cloud in `home`; what is in the file. Raises BackupRefused, OSError."""
    if not (home / "mgmt").is_dir():
        raise BackupRefused(f"there is no cloud in {home}")
    if file.exists():
        raise BackupRefused(f"{file} exists: name another file, or remove it")
    config = load_config(home)
    _check_tables(config)
    with tempfile.TemporaryDirectory(prefix=".backup-", dir=file.parent) as scratch:
        folder = Path(scratch) / "content"
        folder.mkdir()
        _collect_files(home, config, folder)
        (folder / DATABASE).mkdir()
        if is_sqlite(config.database_url):
            copy_sqlite(config.database_url, folder / DATABASE)
        else:
            dump_postgres(config.database_url, folder / DATABASE, Path(scratch))
        manifest = Manifest(
            format=FORMAT,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            version=version("pileus"),
            database="sqlite" if is_sqlite(config.database_url) else "postgresql",
            revision=newest(),
            tables=fingerprint(),
            home=str(home),
            items=describe(folder),
        )
        write_archive(file, folder, manifest)
    return manifest


def _check_tables(config: MgmtConfig) -> None:
    """Only what this software made itself can be described by it."""
    database = Database(config.database_url)
    try:
        found = revision_of(database)
    finally:
        database.close()
    if found != newest():
        words = f"the database has schema {found or 'none'}, this software has {newest()}"
        raise BackupRefused(f"{words}: start the management server once, it updates the database")


def _collect_files(home: Path, config: MgmtConfig, folder: Path) -> None:
    if (home / SETTINGS).exists():
        _copy(home / SETTINGS, folder / SETTINGS)
    save_config(folder, config)
    _copy(config.key_file, folder / KEY)
    for path in _files_below(config.pki_dir):
        _copy(path, folder / PKI / path.relative_to(config.pki_dir))
    own = home / "mgmt"
    for path in _files_below(own):
        is_special = path in (config.key_file, home / CONFIG_FILE) or path.is_relative_to(config.pki_dir)
        if not is_special and path.name != LOCK_FILE and ".db" not in path.name:
            _copy(path, folder / FILES / path.relative_to(own))


def _files_below(folder: Path) -> list[Path]:
    """Regular files; not those that are only half written."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink() and not path.name.startswith(".")
    ]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o600)
