"""GRUB for both firmwares without grub-install, which needs mounts and real devices.

UEFI: Debian's signed shim and signed GRUB as they are. BIOS: a core made by grub-mkimage, whose two
places that name disk sectors are filled in here, because grub-bios-setup refuses a plain file. Offsets:
GNU GRUB 2.x, `include/grub/i386/pc/boot.h` (kernel sector at 0x5c, drive check at 0x66) and
`grub-core/boot/i386/pc/diskboot.S` (first block list entry in the last 12 bytes of the first sector).
"""

import shutil
import struct
from pathlib import Path

from images.builder.debian import Archive
from images.builder.errors import BuildError
from images.builder.recipe import Disk
from systemvm.engine.command import run

SECTOR = 512
#: First sector of the bios_grub partition, where the core lies.
CORE_LBA = 2048
_MODULES = ("biosdisk", "part_gpt", "ext2", "search_fs_uuid", "normal", "linux", "configfile", "serial")
_GRUB_BIOS = Path("/usr/lib/grub/i386-pc")
#: Segment at which the core's second part is loaded (GRUB_BOOT_MACHINE_KERNEL_SEG + one sector).
_SEGMENT = 0x820
_TIMEOUT = 120.0


def write_menu(path: Path, disk: Disk, cmdline: str) -> None:
    """The one menu of both firmwares, on root."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "serial --unit=0 --speed=115200\n"
        "terminal_input serial console\n"
        "terminal_output serial console\n"
        "set timeout=0\n"
        "menuentry Pileus {\n"
        # Not `search`: the BIOS core has no such command, and would wait ten seconds after saying so.
        f"    search.fs_uuid {disk.root_uuid} root\n"
        f"    linux /boot/vmlinuz {cmdline}\n"
        "    initrd /boot/initrd\n"
        "}\n"
    )


def write_bios(out: Path, disk: Disk) -> None:
    """Write `boot.img` (first sector of the disk) and `core.img` (bios_grub partition)."""
    if not (_GRUB_BIOS / "boot.img").is_file():
        raise BuildError(
            "boot loader", "GRUB for BIOS is missing; run: apt-get install grub-pc-bin grub-common"
        )
    config = out / "bios.cfg"
    # Read by GRUB's rescue parser, which knows no menu entries.
    config.write_text(f"search.fs_uuid {disk.root_uuid} root\nset prefix=($root)/boot/grub\n")
    core = out / "core.img"
    argv = ("grub-mkimage", "-O", "i386-pc", "-c", str(config), "-p", "/boot/grub", "-o", str(core))
    run((*argv, *_MODULES), timeout=_TIMEOUT)
    core.write_bytes(_locate_core(core.read_bytes()))
    (out / "boot.img").write_bytes(_locate_boot((_GRUB_BIOS / "boot.img").read_bytes()))


def write_efi(out: Path, disk: Disk, archive: Archive) -> None:
    """Write the files of the EFI system partition: `shim.efi`, `grub.efi`, `efi.cfg`."""
    debs = archive.fetch(("shim-signed", "grub-efi-amd64-signed"))
    files = {
        "shim.efi": ("shim-signed", "usr/lib/shim/shimx64.efi.signed"),
        "grub.efi": ("grub-efi-amd64-signed", "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"),
    }
    for name, (package, path) in files.items():
        scratch = out / f"{name}.deb"
        run(("dpkg-deb", "--extract", str(debs[package]), str(scratch)), timeout=_TIMEOUT)
        shutil.copy(scratch / path, out / name)
        shutil.rmtree(scratch)
    (out / "efi.cfg").write_text(
        f"search.fs_uuid {disk.root_uuid} root\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n"
    )


def _locate_boot(image: bytes) -> bytes:
    """Tell the boot sector where the core is, and to trust the drive number the BIOS passes."""
    sector = bytearray(image[:SECTOR])
    sector[0x5C:0x64] = struct.pack("<Q", CORE_LBA)
    sector[0x66:0x68] = b"\x90\x90"
    return bytes(sector)


def _locate_core(core: bytes) -> bytes:
    """Tell the core's first sector where its other sectors are: right behind it."""
    sectors = -(-len(core) // SECTOR)
    padded = bytearray(core.ljust(sectors * SECTOR, b"\0"))
    padded[SECTOR - 12 : SECTOR] = struct.pack("<QHH", CORE_LBA + 1, sectors - 1, _SEGMENT)
    return bytes(padded)
