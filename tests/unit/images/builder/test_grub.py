import struct

import pytest

from images.builder import grub

pytestmark = pytest.mark.unit


def test_boot_sector_points_at_the_core_and_trusts_the_bios_drive() -> None:
    image = bytes(range(256)) * 2
    patched = grub._locate_boot(image)
    assert len(patched) == grub.SECTOR
    assert struct.unpack_from("<Q", patched, 0x5C) == (grub.CORE_LBA,)
    assert patched[0x66:0x68] == b"\x90\x90"
    untouched = [i for i in range(grub.SECTOR) if not 0x5C <= i < 0x64 and i not in (0x66, 0x67)]
    assert all(patched[i] == image[i] for i in untouched)


@pytest.mark.parametrize(("size", "sectors"), [(513, 2), (1024, 2), (1025, 3), (30_000, 59)])
def test_core_lists_its_own_following_sectors(size: int, sectors: int) -> None:
    core = grub._locate_core(b"\xaa" * size)
    assert len(core) == sectors * grub.SECTOR
    assert struct.unpack_from("<QHH", core, grub.SECTOR - 12) == (grub.CORE_LBA + 1, sectors - 1, 0x820)
    assert core[grub.SECTOR : size] == b"\xaa" * (size - grub.SECTOR)
