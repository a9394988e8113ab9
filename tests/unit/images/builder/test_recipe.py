from pathlib import Path

import pytest

from images.builder import recipe
from images.builder.errors import RecipeError

pytestmark = pytest.mark.unit

MINIMAL = """
name = "probe"
summary = "for this test"
epoch = 1767225600
hostname = "probe"
[tree]
elements = ["pileus-debian"]
[disk]
size_mib = 256
disk_guid = "421925b3-ce11-585a-af3a-3271a7986301"
bios_guid = "421925b3-ce11-585a-af3a-3271a7986302"
esp_guid = "421925b3-ce11-585a-af3a-3271a7986303"
root_guid = "421925b3-ce11-585a-af3a-3271a7986304"
root_uuid = "421925b3-ce11-585a-af3a-3271a7986305"
[check]
kind = "serial"
marker = "ready"
"""


def _write(folder: Path, text: str) -> Path:
    path = folder / "probe.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", recipe.names())
def test_every_recipe_of_the_repository_is_readable(name: str) -> None:
    assert recipe.load(name).name == name


def test_recipes_share_no_identifier() -> None:
    seen: list[str] = []
    for name in recipe.names():
        disk = recipe.load(name).disk
        seen += [disk.disk_guid, disk.bios_guid, disk.esp_guid, disk.root_guid, disk.root_uuid]
    assert len(seen) == len(set(seen)) >= 5


def test_minimal_recipe_has_defaults(tmp_path: Path) -> None:
    read = recipe.read(_write(tmp_path, MINIMAL))
    assert read.disk.firmware == ("bios", "uefi")
    assert read.kernel.modules == ("virtio_blk",)
    assert read.tree.connection == "chroot"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('summary = "for this test"', 'sumary = "x"', "sumary"),
        ("size_mib = 256", "size_mib = 0", "size_mib"),
        ("epoch = 1767225600", 'epoch = "yesterday"', "epoch"),
        ('421925b3-ce11-585a-af3a-3271a7986305"', 'not-a-guid"', "root_uuid"),
        ('marker = "ready"', "", "check.marker"),
        ('name = "probe"', 'name = "other"', "'probe'"),
        ("[disk]", "[disk", "probe.toml"),
    ],
)
def test_mistake_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in MINIMAL
    with pytest.raises(RecipeError, match=said):
        recipe.read(_write(tmp_path, MINIMAL.replace(old, new)))


def test_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(RecipeError, match="systemvm"):
        recipe.load("nothing")
