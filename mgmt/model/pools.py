"""Kinds of primary storage, as CloudStack names them, and what each means to the cloud.

A kind that hosts have a driver for is one row here with `is_supported`, and one class in the host agent that
connects it (docs/storage-pools.md).
"""

from dataclasses import dataclass
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


class Holds(StrEnum):
    """What a volume is in a pool: a qcow2 file in a folder, or a block device of its own."""

    files = "files"
    blocks = "blocks"


class Mounts(StrEnum):
    """Who makes a pool reachable on a host."""

    nobody = "nobody"
    operator = "operator"
    agent = "agent"
    qemu = "qemu"


class StorageType(StrEnum):
    """What offerings ask for: a pool of one host, or one that several reach."""

    local = "local"
    shared = "shared"


@dataclass(frozen=True)
class Traits:
    """What a kind is: the scheme of its URLs, whether several hosts reach it, and how."""

    scheme: str
    is_shared: bool
    holds: Holds
    mounts: Mounts
    is_supported: bool = False


TRAITS: Final = {
    PoolKind.directory: Traits("file", False, Holds.files, Mounts.nobody, is_supported=True),
    PoolKind.shared_directory: Traits(
        "sharedmountpoint", True, Holds.files, Mounts.operator, is_supported=True
    ),
    PoolKind.nfs: Traits("nfs", True, Holds.files, Mounts.agent),
    PoolKind.rbd: Traits("rbd", True, Holds.blocks, Mounts.qemu),
    PoolKind.iscsi: Traits("iscsi", True, Holds.blocks, Mounts.agent),
    PoolKind.lvm: Traits("clvm", True, Holds.blocks, Mounts.agent),
}
SCHEMES: Final = {traits.scheme: kind for kind, traits in TRAITS.items()}
"""The kind that the URL of a pool asks for."""
