"""First start of a management server: folders, key, database, defaults, the administrator's password."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mgmt.config import MgmtConfig, load_config
from mgmt.store.database import Database
from mgmt.store.defaults import add_defaults
from mgmt.store.migrate import upgrade
from mgmt.store.sealing import Seal, load_seal

#: Locked by the server that runs on the home.
LOCK_FILE = "server.lock"
PASSWORD_FILE = "admin-password"  # noqa: S105 (a file's name)


@dataclass(frozen=True)
class Opened:
    """The store of one management server, ready for use. `password` is set on the very first start only."""

    config: MgmtConfig
    database: Database
    seal: Seal
    password: str | None


def open_store(home: Path) -> Opened:
    """Open the store below `home`, made or migrated as needed. Idempotent.

    Raises `msgspec.ValidationError` for a wrong configuration, `SealBroken` for a wrong key file, `OSError`.
    """
    config = load_config(home)
    folder = home / "mgmt"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    seal = load_seal(config.key_file)
    database = Database(config.database_url)
    upgrade(database)
    with database.writing() as session:
        password = add_defaults(session)
        if password is not None:
            write_password(folder / PASSWORD_FILE, password)
    return Opened(config=config, database=database, seal=seal, password=password)


class Occupied(Exception):
    """A management server runs on this home."""


@contextmanager
def occupied(home: Path) -> Iterator[None]:
    """Keep other servers, and restores, off this home. Raises Occupied. Forked processes keep it too."""
    path = home / "mgmt" / LOCK_FILE
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.open("a") as file:
        if os.geteuid() == 0:  # a restore by root: the server's user must be able to lock it too
            os.fchown(file.fileno(), path.parent.stat().st_uid, path.parent.stat().st_gid)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Occupied(f"a management server runs on {home}; stop it first (`pileus down`)") from None
        yield


def write_password(path: Path, password: str) -> None:
    """Leave the generated password for the operator, mode 0600, before the account is committed."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(password + "\n")
        file.flush()
        os.fsync(file.fileno())
