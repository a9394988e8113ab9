from pathlib import Path

import pytest

from images.builder import inputs, recipe
from images.builder.debian import Archive
from images.builder.errors import RecipeError
from images.builder.paths import Source
from systemvm.engine.command import Result

pytestmark = pytest.mark.unit


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one recipe's inputs, and a recorded package archive."""
    monkeypatch.setenv("PILEUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(inputs, "run", lambda argv, accept: Result("genimage 16\n", ""))
    wanted = recipe.load("systemvm")
    for name in wanted.tree.elements:
        _put(tmp_path / "images" / "elements" / name / "element-deps")
    for path in (
        *("images/recipes/systemvm.toml", "playbooks/image.yml", "playbooks/roles/systemvm/tasks/main.yml"),
        *(
            "images/builder/disk.py",
            "images/builder/boot.py",
            "systemvm/agent/app.py",
            "cache/apt/trixie/sources.list",
        ),
        "cache/apt/trixie/lists/mirror_dists_trixie_InRelease",
    ):
        _put(tmp_path / path)
    _put(tmp_path / "pyproject.toml", '[project]\nversion = "1.2.3"\n')
    return tmp_path


def _put(path: Path, text: str = "first") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _digest(house: Path) -> str:
    wanted = recipe.load("systemvm")
    return inputs.digest(inputs.collect(wanted, Archive(wanted.tree.release), Source(house)))


def test_same_inputs_same_hash(house: Path) -> None:
    assert _digest(house) == _digest(house)


@pytest.mark.parametrize(
    "path",
    [
        "images/recipes/systemvm.toml",
        "images/elements/pileus-debian/element-deps",
        "playbooks/image.yml",
        "playbooks/roles/systemvm/tasks/main.yml",
        "images/builder/disk.py",
        "systemvm/agent/app.py",
        "cache/apt/trixie/lists/mirror_dists_trixie_InRelease",
        "cache/apt/trixie/sources.list",
    ],
)
def test_every_kind_of_input_changes_the_hash(house: Path, path: str) -> None:
    before = _digest(house)
    (house / path).write_text("second")
    assert _digest(house) != before


def test_new_file_and_executable_bit_change_the_hash(house: Path) -> None:
    first = _digest(house)
    _put(house / "systemvm" / "agent" / "new.py")
    second = _digest(house)
    (house / "systemvm" / "agent" / "new.py").chmod(0o755)
    assert len({first, second, _digest(house)}) == 3


def test_version_changes_the_hash_and_a_copy_does_not(house: Path) -> None:
    before = _digest(house)
    assert _digest(Source(house).copy(house / "copy").root) == before
    _put(house / "pyproject.toml", '[project]\nversion = "1.2.4"\n')
    assert _digest(house) != before


def test_what_cannot_reach_the_image_does_not(house: Path) -> None:
    before = _digest(house)
    _put(house / "images" / "builder" / "boot.py", "second")
    _put(house / "systemvm" / "agent" / "__pycache__" / "app.pyc", "second")
    _put(house / "mgmt" / "api.py", "second")
    assert _digest(house) == before


def test_missing_input_is_named(house: Path) -> None:
    (house / "playbooks" / "roles" / "systemvm" / "tasks" / "main.yml").unlink()
    (house / "playbooks" / "roles" / "systemvm" / "tasks").rmdir()
    (house / "playbooks" / "roles" / "systemvm").rmdir()
    with pytest.raises(RecipeError, match="playbooks/roles/systemvm"):
        _digest(house)
