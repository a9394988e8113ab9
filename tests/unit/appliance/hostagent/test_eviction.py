"""What leaves the template cache when room is needed, and what never does."""

import os
from pathlib import Path

import pytest

from appliance.hostagent.eviction import RECENT, Evictor

pytestmark = pytest.mark.unit


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for age, name in enumerate(("new", "old", "oldest", "catalog-tiny-1"), start=1):
        path = tmp_path / f"{name}.img"
        path.write_bytes(b"x")
        os.utime(path, (1000 - age, 1000 - age))
    (tmp_path / "half.part").write_bytes(b"x")
    return tmp_path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_longest_unused_goes_first(folder: Path) -> None:
    evictor = Evictor(folder, floor=0.0)
    assert evictor.evict_one()
    assert "oldest.img" not in names(folder)
    assert evictor.evict_one()
    assert evictor.evict_one()
    assert not evictor.evict_one(), "links of catalog images and what is being pulled stay"
    assert names(folder) == {"catalog-tiny-1.img", "half.part"}


def test_what_a_volume_is_based_on_never_goes(folder: Path) -> None:
    evictor = Evictor(folder, floor=1.0, in_use=lambda: {folder / "oldest.img", folder / "new.img"})
    evictor.make_room()
    assert names(folder) == {"new.img", "oldest.img", "catalog-tiny-1.img", "half.part"}


def test_while_nobody_knows_what_is_in_use_nothing_goes(folder: Path) -> None:
    evictor = Evictor(folder, floor=1.0, in_use=lambda: None)
    evictor.make_room()
    assert not evictor.evict_one()
    assert len(names(folder)) == 5


def test_what_was_asked_for_lately_stays(folder: Path) -> None:
    clock = [0.0]
    evictor = Evictor(folder, floor=1.0, monotonic=lambda: clock[0])
    evictor.note(folder / "oldest.img")
    evictor.make_room()
    assert "oldest.img" in names(folder)
    clock[0] = RECENT + 1
    evictor.make_room()
    assert "oldest.img" not in names(folder)


def test_with_enough_room_nothing_goes(folder: Path) -> None:
    Evictor(folder, floor=0.0).make_room()
    assert len(names(folder)) == 5
