"""Compressed images: unpacked whole, bounded in size and memory, refused in words when they are broken."""

import bz2
import gzip
import lzma
import random
from pathlib import Path

import pytest

from systemvm.engine.fetch import Cancelled
from systemvm.engine.image_header import ImageRefused
from systemvm.engine.testing import RecordedRunner
from systemvm.services.storage import unpack as unpacking
from systemvm.services.storage.unpack import compression_of, unpack

pytestmark = pytest.mark.unit
CONTENT = random.Random(1).randbytes(3 << 20) + bytes(5 << 20) + b"end"  # noqa: S311
COMPRESS = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}
HOW = pytest.mark.parametrize("how", list(COMPRESS))


def taken(folder: Path, packed: bytes, max_bytes: int = 1 << 24) -> Path:
    """What becomes of compressed bytes."""
    source, target = folder / "source", folder / "target"
    source.write_bytes(packed)
    how = compression_of(source)
    assert how is not None
    unpack(source, how, target, max_bytes=max_bytes, run=RecordedRunner({}), cancelled=lambda: False)
    return target


@HOW
def test_it_is_unpacked_with_its_holes(tmp_path: Path, how: str) -> None:
    target = taken(tmp_path, COMPRESS[how](CONTENT))
    assert target.read_bytes() == CONTENT
    assert target.stat().st_blocks * 512 < len(CONTENT) - (3 << 20)


@HOW
def test_all_its_parts_are_taken(tmp_path: Path, how: str) -> None:
    packed = COMPRESS[how](CONTENT[:1000]) + COMPRESS[how](CONTENT[1000:])
    assert taken(tmp_path, packed).read_bytes() == CONTENT


@HOW
def test_a_bomb_ends_at_the_size_that_is_allowed(tmp_path: Path, how: str) -> None:
    with pytest.raises(ImageRefused, match=f"more than the {1 << 22} bytes"):
        taken(tmp_path, COMPRESS[how](bytes(64 << 20)), 1 << 22)
    assert (tmp_path / "target").stat().st_size <= 1 << 22


@HOW
@pytest.mark.parametrize("damage", [lambda packed: packed[:-9], lambda packed: packed[:20] + bytes(2000)])
def test_what_is_broken_is_refused(tmp_path: Path, how: str, damage: object) -> None:
    assert callable(damage)
    with pytest.raises(ImageRefused, match=f"compressed with {how} cannot be unpacked"):
        taken(tmp_path, damage(COMPRESS[how](CONTENT)))


def test_headers_that_ask_for_much_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "MEMORY", 1 << 20)
    with pytest.raises(ImageRefused, match="xz cannot be unpacked: Memory usage limit"):
        taken(tmp_path, lzma.compress(CONTENT))


def test_it_ends_when_nobody_wants_it(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(gzip.compress(CONTENT))
    with pytest.raises(Cancelled):
        unpack(
            tmp_path / "source",
            "gzip",
            tmp_path / "target",
            max_bytes=1 << 24,
            run=RecordedRunner({}),
            cancelled=lambda: True,
        )


def test_what_is_not_compressed_is_no_business_of_this(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(b"QFI\xfb" + bytes(100))
    assert compression_of(tmp_path / "disk") is None
