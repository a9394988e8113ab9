from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from images.builder import boot, disk, recipe
from images.builder.boot import Machine, Way

pytestmark = pytest.mark.unit


def _config(firmware: tuple[recipe.Firmware, ...]) -> str:
    wanted = recipe.load("systemvm")
    changed = msgspec.structs.replace(wanted, disk=msgspec.structs.replace(wanted.disk, firmware=firmware))
    return disk._config(changed, Path("/tree"), Path("/parts"))


def test_layout_has_every_identifier_and_fits_the_disk() -> None:
    wanted = recipe.load("systemvm").disk
    text = _config(("bios", "uefi"))
    for guid in (wanted.disk_guid, wanted.bios_guid, wanted.esp_guid, wanted.root_guid, wanted.root_uuid):
        assert guid in text
    # 1 MiB GPT, 1 MiB bios_grub, ESP, root, 1 MiB second GPT.
    assert f"size = {wanted.size_mib - 2 - disk.ESP_MIB - 1}M" in text
    assert f"offset = {2 + disk.ESP_MIB}M" in text


@pytest.mark.parametrize(
    ("firmware", "inside", "outside"),
    [
        (("bios",), ["boot.img", "core.img"], ["shim.efi"]),
        (("uefi",), ["shim.efi", "grub.efi", "efi.cfg"], ["core.img", "boot.img"]),
        ((), ["root.ext4"], ["shim.efi", "core.img"]),
    ],
)
def test_only_the_wanted_firmware_gets_a_loader(
    firmware: tuple[recipe.Firmware, ...], inside: list[str], outside: list[str]
) -> None:
    text = _config(firmware)
    assert all(name in text for name in inside)
    assert not any(name in text for name in outside)


def test_kernel_is_told_its_root() -> None:
    wanted = recipe.load("systemvm")
    assert disk.kernel_arguments(wanted).startswith(f"root=UUID={wanted.disk.root_uuid} ")


@dataclass
class Case:
    way: Way
    inside: tuple[str, ...]
    outside: tuple[str, ...]


@pytest.mark.parametrize(
    "case",
    [
        Case("direct", ("-kernel", "-initrd", "-append"), ("if=pflash", "smm=on")),
        Case("bios", ("snapshot=on",), ("-kernel", "if=pflash")),
        Case("uefi", ("OVMF_CODE_4M.fd",), ("-kernel", "secure,value=on")),
        Case("secureboot", ("OVMF_CODE_4M.secboot.fd", "secure,value=on", "smm=on"), ("-kernel",)),
    ],
    ids=lambda case: case.way,
)
def test_machine_is_started_as_asked(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OVMF_VARS_4M.fd", "OVMF_VARS_4M.ms.fd"):
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(boot, "_OVMF", tmp_path)
    image = Path("/image")
    machine = Machine(disk=image, kernel=image, initrd=image, cmdline="x", way=case.way, agent_port=8443)
    line = " ".join(boot.command(machine, tmp_path, 40443))
    assert all(word in line for word in case.inside)
    assert not any(word in line for word in case.outside)
    assert f"hostfwd=tcp:127.0.0.1:40443-{boot.ADDRESS}:8443" in line
    assert "restrict=on" in line
    assert f"tb-size={boot.TRANSLATION_CACHE_MIB} " in line, "else warm resets take minutes"
