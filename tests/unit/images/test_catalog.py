import os
from pathlib import Path

import pytest

from images import catalog
from images.builder import manifest
from images.builder.errors import CatalogError

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PILEUS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _folder(tmp_path: Path, input_hash: str) -> Path:
    folder = tmp_path / f"built-{input_hash}"
    folder.mkdir()
    (folder / "disk.raw").write_bytes(b"raw" * 100)
    (folder / "cmdline").write_text("console=ttyS0\n")
    written = manifest.Manifest(
        name="probe",
        summary="for this test",
        input_hash=input_hash,
        epoch=1767225600,
        hostname="probe",
        kernel_version="6.12",
        cmdline="console=ttyS0",
        inputs={"a": "1"},
        files={path.name: manifest.describe(path) for path in folder.iterdir()},
        packages=(manifest.Package("deb", "haproxy", "3.0"),),
    )
    (folder / catalog.MANIFEST).write_bytes(manifest.encode(written))
    return folder


def _publish(tmp_path: Path, input_hash: str) -> catalog.CatalogImage:
    return catalog.publish("probe", input_hash, _folder(tmp_path, input_hash))


def test_published_image_is_current_and_whole(tmp_path: Path) -> None:
    image = _publish(tmp_path, "aaaa")
    assert catalog.current("probe") == image
    assert image.raw.read_bytes() == b"raw" * 100
    assert image.cmdline == "console=ttyS0"
    assert image.manifest().packages == (manifest.Package("deb", "haproxy", "3.0"),)
    assert catalog.images() == [image]


def test_current_moves_and_the_older_one_stays_until_pruned(tmp_path: Path) -> None:
    old, new = _publish(tmp_path, "aaaa"), _publish(tmp_path, "bbbb")
    assert catalog.current("probe") == new
    assert catalog.find("probe", "aaaa") == old
    assert [catalog.is_current(image) for image in (old, new)] == [False, True]
    assert catalog.prune("probe") == [old]
    assert catalog.images() == [new]
    catalog.make_current("probe", "bbbb")
    assert sorted(os.listdir(catalog.root() / "probe")) == ["bbbb", "current"]


def test_nothing_published_says_what_to_run() -> None:
    with pytest.raises(CatalogError, match="pileus image build probe"):
        catalog.current("probe")


def test_image_with_a_cut_file_is_not_found_and_is_replaced(tmp_path: Path) -> None:
    image = _publish(tmp_path, "aaaa")
    image.raw.write_bytes(b"raw")
    assert catalog.find("probe", "aaaa") is None
    with pytest.raises(CatalogError, match="damaged"):
        catalog.current("probe")
    (tmp_path / "built-aaaa").mkdir(exist_ok=True)
    (tmp_path / "built-aaaa").rmdir()
    assert catalog.find("probe", _publish(tmp_path, "aaaa").input_hash) is not None


def test_damaged_manifest_is_an_error_with_a_repair(tmp_path: Path) -> None:
    image = _publish(tmp_path, "aaaa")
    (image.folder / catalog.MANIFEST).write_text("{")
    with pytest.raises(CatalogError, match="build again"):
        image.manifest()
