"""Where keys live: files that only the management server's user can read, replaced whole."""

import os
import platform
from pathlib import Path

from mgmt.pki.certificates import Identity

_KEY_MARK = "-----BEGIN PRIVATE KEY-----"


def write_private(path: Path, text: str) -> None:
    """Replace `path` atomically with mode 0600; after a crash it is the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(
        f".{path.name}.{platform.node()}.{os.getpid()}"
    )  # servers may share the folder
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def read_identity(path: Path) -> Identity | None:
    """The identity in a PEM file, certificate first and then its key; None if there is no such file."""
    if not path.exists():
        return None
    certificate, mark, key = path.read_text().partition(_KEY_MARK)
    return Identity(certificate, mark + key)


def write_identity(path: Path, identity: Identity) -> None:
    """Keep an identity in one PEM file, so that no certificate ever meets another's key."""
    write_private(path, identity.certificate + identity.key)
