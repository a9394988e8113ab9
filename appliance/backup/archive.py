"""The file of a backup: a compressed tar of plain files, its manifest first, readable by its owner only."""

import os
import shutil
import tarfile
from io import BytesIO
from pathlib import Path

import msgspec

from appliance.backup.manifest import NAME, BackupRefused, Manifest, describe, read_manifest

#: Largest manifest that is read: some hundred bytes for each certificate.
MOST_MANIFEST = 64 * 1024**2


def write_archive(file: Path, folder: Path, manifest: Manifest) -> None:
    """Pack `folder`; the file is there whole or not at all. Raises BackupRefused if there is one, OSError."""
    partial = file.with_name(f".{file.name}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as output:
            os.fchmod(output.fileno(), 0o600)
            with tarfile.open(fileobj=output, mode="w:gz", compresslevel=1) as tar:
                raw = msgspec.json.format(msgspec.json.encode(manifest))
                head = tarfile.TarInfo(NAME)
                head.size, head.mode = len(raw), 0o600
                tar.addfile(head, BytesIO(raw))
                for item in manifest.items:
                    tar.add(folder / item.name, item.name)
            output.flush()
            os.fsync(output.fileno())
        os.link(partial, file)  # fails where a rename would replace somebody's backup
    except FileExistsError:
        raise BackupRefused(f"{file} exists: name another file, or remove it") from None
    finally:
        partial.unlink(missing_ok=True)


def read_archive(file: Path, folder: Path) -> Manifest:
    """Unpack a backup into an empty folder and check it by its manifest. Raises BackupRefused, OSError."""
    try:
        with tarfile.open(file, mode="r:gz") as tar:
            manifest = read_manifest(_manifest_of(tar, file), file)
            wanted = {item.name for item in manifest.items}
            while (member := tar.next()) is not None:
                if not member.isreg() or member.name not in wanted or not _is_inside(member.name):
                    raise BackupRefused(f"{file} holds {member.name!r}, which its manifest does not name")
                wanted.remove(member.name)
                _extract(tar, member, folder / member.name)
    except (tarfile.TarError, EOFError) as error:
        raise BackupRefused(f"{file} is no backup of Pileus, or is damaged: {error}") from None
    _check(file, folder, manifest)
    return manifest


def _manifest_of(tar: tarfile.TarFile, file: Path) -> bytes:
    first = tar.next()
    content = tar.extractfile(first) if first is not None and first.isreg() else None
    if first is None or content is None or first.name != NAME or first.size > MOST_MANIFEST:
        raise BackupRefused(f"{file} is no backup of Pileus: it does not begin with {NAME}")
    return content.read()


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    content = tar.extractfile(member)
    assert content is not None  # noqa: S101 (it is a regular file)
    with content, target.open("xb") as output:
        os.fchmod(output.fileno(), 0o600)
        shutil.copyfileobj(content, output)


def _check(file: Path, folder: Path, manifest: Manifest) -> None:
    found = {item.name: item for item in describe(folder)}
    for item in manifest.items:
        if found.get(item.name) != item:
            raise BackupRefused(
                f"{file} is damaged: {item.name} is not what its manifest says; use another backup"
            )


def _is_inside(name: str) -> bool:
    parts = Path(name).parts
    return bool(parts) and not Path(name).is_absolute() and ".." not in parts
