"""Kinds of primary storage, as CloudStack names them, and which of them hosts have drivers for."""

from enum import StrEnum
from typing import Final


class PoolKind(StrEnum):
    """What a storage pool is made of."""

    directory = "Filesystem"
    shared_directory = "SharedMountPoint"
    nfs = "NetworkFilesystem"
    rbd = "RBD"
    iscsi = "Iscsi"
    lvm = "CLVM"


SCHEMES: Final = {
    "file": PoolKind.directory,
    "sharedmountpoint": PoolKind.shared_directory,
    "nfs": PoolKind.nfs,
    "rbd": PoolKind.rbd,
    "iscsi": PoolKind.iscsi,
    "clvm": PoolKind.lvm,
}
"""The kind that the URL of a pool asks for."""
SUPPORTED: Final = frozenset({PoolKind.directory})
