"""Config disks, read back with the same library."""

import io
from pathlib import Path

import pycdlib
import pytest

from appliance.hostagent.config_disk import write_config_disk
from systemvm.spec.host import ConfigDisk

pytestmark = pytest.mark.unit


def test_label_names_and_content(tmp_path: Path) -> None:
    disk = ConfigDisk(label="PILEUS", files={"machine.json": '{"ä": 1}', "a.txt": ""})
    path = write_config_disk(tmp_path / "vm", disk)
    assert path.stat().st_mode & 0o777 == 0o600
    image = pycdlib.PyCdlib()
    image.open(str(path))
    assert image.pvd.volume_identifier.decode().strip() == "PILEUS"
    content = io.BytesIO()
    image.get_file_from_iso_fp(content, rr_path="/machine.json")
    image.close()
    assert content.getvalue().decode() == '{"ä": 1}'


def test_it_is_rewritten_only_for_other_content(tmp_path: Path) -> None:
    disk = ConfigDisk(label="PILEUS", files={"a": "1"})
    first = write_config_disk(tmp_path, disk).stat().st_ino
    assert write_config_disk(tmp_path, disk).stat().st_ino == first
    other = ConfigDisk(label="PILEUS", files={"a": "2"})
    assert write_config_disk(tmp_path, other).stat().st_ino != first
