"""The reader against disks that pycdlib wrote."""

from pathlib import Path

import pytest

from systemvm.agent.iso9660 import NotOnDisk, read_file, read_label
from tests.unit.systemvm.agent.test_config_disk import write_iso

pytestmark = pytest.mark.unit


def test_label(tmp_path: Path) -> None:
    write_iso(tmp_path / "iso", "PILEUS", {})
    assert read_label(tmp_path / "iso") == "PILEUS"


@pytest.mark.parametrize("data", [b"", b"\0" * 100_000, b"\xff" * 40_000])
def test_what_is_no_iso9660_has_no_label(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "disk").write_bytes(data)
    assert read_label(tmp_path / "disk") is None


def test_files_of_many_sectors_in_a_folder_of_many(tmp_path: Path) -> None:
    """Enough of them that the folder itself crosses sectors."""
    files = {f"a-name-of-some-length-{number}.json": bytes([number]) * 1500 * number for number in range(60)}
    write_iso(tmp_path / "iso", "PILEUS", files)
    for name, data in files.items():
        assert read_file(tmp_path / "iso", name) == data


def test_only_its_rock_ridge_name_counts(tmp_path: Path) -> None:
    write_iso(tmp_path / "iso", "PILEUS", {"machine.json": b"x"})
    for name in ("FILE0000.;1", "MACHINE.JSON", "machine"):
        with pytest.raises(NotOnDisk, match="has no file"):
            read_file(tmp_path / "iso", name)
