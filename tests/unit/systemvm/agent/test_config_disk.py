"""The config disk is found by its label and read once."""

from io import BytesIO
from pathlib import Path

import pycdlib
import pytest

from systemvm.agent.config_disk import find_config_disk, read_bootstrap
from systemvm.agent.errors import BootError
from systemvm.engine.service import Doors
from systemvm.engine.testing import recorded_doors
from systemvm.spec import codec
from systemvm.spec.bootstrap import CONTROL_LINK, Bootstrap, BootstrapNic
from systemvm.spec.types import Purpose, Role

pytestmark = pytest.mark.unit

BOOTSTRAP = Bootstrap(
    machine="0f8fad5b-d9cb-469f-a165-70867728950e",
    name="r-1-vm",
    role=Role.router,
    nics=(BootstrapNic(mac="0e:00:a9:fe:01:02", name=CONTROL_LINK, purpose=Purpose.linklocal),),
    linklocal_address="169.254.1.2/16",
    certificate="c",
    key="k",
    client_ca="a",
)


def write_iso(path: Path, label: str, files: dict[str, bytes]) -> None:
    """As the host agent writes config disks: names by Rock Ridge, plain ISO9660 ones without meaning."""
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, vol_ident=label, rock_ridge="1.09", joliet=3)
    for index, (name, data) in enumerate(files.items()):
        iso.add_fp(BytesIO(data), len(data), f"/FILE{index:04}.;1", rr_name=name, joliet_path=f"/{name}")
    iso.write(str(path))
    iso.close()


@pytest.fixture
def doors(tmp_path: Path) -> Doors:
    for name in ("loop0", "vda", "vdb", "vdc"):
        (tmp_path / "sys/block" / name).mkdir(parents=True)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/vda").write_bytes(b"\0" * 100_000)
    write_iso(tmp_path / "dev/vdb", "OTHER", {})
    write_iso(tmp_path / "dev/vdc", "PILEUS", {"machine.json": codec.encode(BOOTSTRAP)})
    ticks = iter(range(0, 10_000, 5))
    return recorded_doors(tmp_path, now=lambda: float(next(ticks)))


def test_found_among_other_disks(doors: Doors) -> None:
    # loop0 has no node at all, vda is no ISO9660, vdb has another label.
    assert find_config_disk(doors.root) == doors.root / "dev/vdc"


def test_read(doors: Doors) -> None:
    assert read_bootstrap(doors) == BOOTSTRAP


def test_a_disk_without_the_file(doors: Doors) -> None:
    write_iso(doors.root / "dev/vdc", "PILEUS", {"other.json": b"{}"})
    with pytest.raises(BootError, match=r"labelled PILEUS and has no machine\.json"):
        read_bootstrap(doors)


def test_no_disk(doors: Doors) -> None:
    (doors.root / "dev/vdc").unlink()
    slept: list[float] = []
    with pytest.raises(BootError, match="no block device has the volume label PILEUS"):
        read_bootstrap(doors, sleep=slept.append)
    assert slept


def test_a_disk_that_comes_late(doors: Doors) -> None:
    late = (doors.root / "dev/vdc").read_bytes()
    (doors.root / "dev/vdc").unlink()

    def appear(seconds: float) -> None:
        (doors.root / "dev/vdc").write_bytes(late)

    assert read_bootstrap(doors, sleep=appear) == BOOTSTRAP


def test_override(doors: Doors, tmp_path: Path) -> None:
    path = tmp_path / "machine.json"
    path.write_bytes(codec.encode(BOOTSTRAP))
    assert read_bootstrap(doors, str(path)) == BOOTSTRAP
    path.write_text('{"machine": 3}')
    with pytest.raises(BootError, match=r"machine\.json of the config disk: machine: Expected `str`"):
        read_bootstrap(doors, str(path))
