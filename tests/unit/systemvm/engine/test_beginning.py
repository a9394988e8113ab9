"""How much of a cut download counts: all of it in the same boot, what was flushed in another."""

import os
from pathlib import Path

import pytest

from systemvm.engine import beginning, files
from systemvm.engine.beginning import Beginning

pytestmark = pytest.mark.unit


@pytest.fixture
def boot(tmp_path: Path) -> Path:
    path = tmp_path / "boot_id"
    path.write_text("first\n")
    return path


def begun(target: Path, boot: Path, flushed: int, written: int) -> None:
    """A download of which so many bytes were flushed, and so many written."""
    made = Beginning(target, boot)
    made.start('"one"')
    with target.open("wb") as file:
        file.write(b"x" * flushed)
        made.flush(file)
        file.write(b"x" * (written - flushed))


@pytest.mark.parametrize(("now", "length"), [("first\n", 700), ("second\n", 300)])
def test_what_was_not_flushed_counts_in_the_same_boot_only(
    tmp_path: Path, boot: Path, now: str, length: int
) -> None:
    begun(tmp_path / "image", boot, 300, 700)
    boot.write_text(now)
    again = Beginning(tmp_path / "image", boot)
    assert (again.length(), again.validator()) == (length, '"one"')


@pytest.mark.parametrize("note", [None, b"", bytes(40), b'{"validator": 1}', b'{"validator": "one"}'])
def test_without_a_whole_note_it_begins_anew(tmp_path: Path, boot: Path, note: bytes | None) -> None:
    begun(tmp_path / "image", boot, 300, 700)
    origin = tmp_path / "image.origin"
    origin.unlink() if note is None else origin.write_bytes(note)
    assert Beginning(tmp_path / "image", boot).length() == 0


def test_it_is_flushed_after_many_bytes_and_after_some_time(
    tmp_path: Path, boot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beginning, "FLUSH_BYTES", 100)
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda handle: flushed.append(os.fstat(handle).st_size))
    made = Beginning(tmp_path / "image", boot)
    made.start('"one"')
    with (tmp_path / "image").open("wb") as file:
        for length in range(30, 270, 30):
            file.write(b"x" * 30)
            made.flush_now_and_then(file, length)
        monkeypatch.setattr(beginning, "FLUSH_SECONDS", 0.0)
        file.write(b"x")
        made.flush_now_and_then(file, 241)
    assert flushed == [120, 240, 241]


def test_a_file_is_flushed_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part, path = tmp_path / "part", tmp_path / "path"
    seen: list[tuple[bool, bool]] = []
    monkeypatch.setattr(os, "fsync", lambda handle: seen.append((part.exists(), path.exists())))
    for put in (files.put_in_place, files.link_in_place):
        part.write_text(put.__name__)
        put(part, path)
    assert seen == [(True, False), (False, True), (True, True), (False, True)]
    assert path.read_text() == "put_in_place", "a link leaves what is there"
