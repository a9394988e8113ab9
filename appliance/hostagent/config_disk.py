"""Config disks: small ISO9660 images that tell a VM who it is."""

import hashlib
import io
import re
from pathlib import Path

import msgspec

from appliance.hostagent.errors import Refused
from systemvm.engine.files import write_atomic
from systemvm.spec.host import ConfigDisk

# ECMA-119 7.4: d-characters; 32 of them in a volume identifier.
_LABEL = re.compile(r"[A-Z0-9_]{1,32}")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


def check(disk: ConfigDisk) -> None:
    """Raises Refused, naming what ISO9660 cannot hold."""
    if not _LABEL.fullmatch(disk.label):
        raise Refused(f"config disk label {disk.label!r}: only A-Z, 0-9 and _, at most 32")
    for name in disk.files:
        if not _NAME.fullmatch(name):
            raise Refused(f"config disk file {name!r}: only letters, digits and ._-, at most 64")


def write_config_disk(folder: Path, disk: ConfigDisk) -> Path:
    """Write `folder/config.iso`, closed to others, unless it holds the same already; returns its path.

    A running VM keeps the disk that it was started with.
    """
    path, digest_path = folder / "config.iso", folder / "config.sha256"
    digest = hashlib.sha256(msgspec.json.encode(disk, order="sorted")).hexdigest()
    if path.exists() and digest_path.exists() and digest_path.read_text() == digest:
        return path
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomic(path, _iso(disk), mode=0o600)
    write_atomic(digest_path, digest.encode(), mode=0o600)
    return path


def _iso(disk: ConfigDisk) -> bytes:
    import pycdlib

    image = pycdlib.PyCdlib()
    image.new(interchange_level=3, rock_ridge="1.09", joliet=3, vol_ident=disk.label)
    for index, (name, text) in enumerate(sorted(disk.files.items())):
        data = text.encode()
        # The plain ISO9660 name is never seen: Linux reads Rock Ridge, Windows Joliet.
        image.add_fp(io.BytesIO(data), len(data), f"/FILE{index:04}.;1", rr_name=name, joliet_path=f"/{name}")
    written = io.BytesIO()
    image.write_fp(written)
    image.close()
    return written.getvalue()
