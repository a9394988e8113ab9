"""Files change all together or not at all."""

import os
from pathlib import Path

import pytest

from systemvm.engine.service import File
from systemvm.engine.swap import Swap, under

pytestmark = pytest.mark.unit

OLD = (File("/etc/a", "old a"), File("/etc/b", "old b"), File("/etc/same", "same"))
NEW = (File("/etc/a", "new a", 0o600), File("/etc/c/d", "new d"), File("/etc/same", "same"))


def names(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    swap = Swap(tmp_path, OLD, ())
    swap.prepare()
    swap.commit()
    swap.discard()
    return tmp_path


BEFORE = {"etc/a": "old a", "etc/b": "old b", "etc/same": "same"}
AFTER = {"etc/a": "new a", "etc/c/d": "new d", "etc/same": "same"}


def test_commit(root: Path) -> None:
    assert names(root) == BEFORE
    swap = Swap(root, NEW, OLD)
    inode = (root / "etc/same").stat().st_ino
    swap.prepare()
    assert {path: text for path, text in names(root).items() if "/." not in path} == BEFORE
    swap.commit()
    swap.discard()
    assert names(root) == AFTER
    assert (root / "etc/a").stat().st_mode & 0o777 == 0o600
    assert (root / "etc/same").stat().st_ino == inode


def test_undo_after_commit(root: Path) -> None:
    swap = Swap(root, NEW, OLD)
    swap.prepare()
    swap.commit()
    swap.undo()
    assert names(root) == BEFORE


def test_undo_without_commit(root: Path) -> None:
    swap = Swap(root, NEW, OLD)
    swap.prepare()
    swap.undo()
    assert names(root) == BEFORE


def test_undo_in_the_middle(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swap = Swap(root, NEW, OLD)
    swap.prepare()
    replace = os.replace
    calls: list[Path] = []

    def once(source: Path, target: Path) -> None:
        if calls:
            raise OSError(5, "Input/output error")
        calls.append(target)
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", once)
        with pytest.raises(OSError, match="Input/output"):
            swap.commit()
    swap.undo()
    assert names(root) == BEFORE


def test_what_cannot_be_prepared_changes_nothing(root: Path) -> None:
    impossible = (*NEW, File("/etc/same/below-a-file", "x"))
    swap = Swap(root, impossible, OLD)
    with pytest.raises(OSError, match="same"):
        swap.prepare()
    assert names(root) == BEFORE


def test_leftovers_of_a_crash_are_no_obstacle(root: Path) -> None:
    crashed = Swap(root, NEW, OLD)
    crashed.prepare()
    again = Swap(root, NEW, OLD)
    again.prepare()
    again.commit()
    again.discard()
    assert names(root) == AFTER


@pytest.mark.parametrize("path", ["etc/relative", "/etc/../../escape", ""])
def test_paths_stay_below_the_root(path: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no absolute, plain path"):
        under(tmp_path, path)
