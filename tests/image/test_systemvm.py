"""The system VM's image as an operator gets it: built, booted in every way, healthy, named in its papers."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from images import catalog
from images.builder import boot, build, inputs, pipeline, recipe
from images.builder.boot import Machine, Way
from images.builder.check import AgentProber
from images.builder.errors import BootError
from images.builder.manifest import describe
from images.builder.paths import Source
from images.builder.progress import Quiet
from images.catalog import CatalogImage

pytestmark = pytest.mark.image

MB = 1000**2
PATIENCE = 240.0


class Recorder(Quiet):
    """Remembers which steps a build took."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.steps.append(name)
        with super().step(name):
            yield


@pytest.fixture(scope="module")
def image() -> CatalogImage:
    """The published image, built now if its inputs changed."""
    return build("systemvm", Quiet())


@pytest.fixture
def prober(tmp_path: Path) -> AgentProber:
    return AgentProber(tmp_path)


def _machine(image: CatalogImage, way: Way, disk: Path | None = None) -> Machine:
    wanted = recipe.load("systemvm")
    return replace(pipeline.machine(wanted, image.folder), way=way, disk=disk or image.raw)


@pytest.mark.parametrize("way", ["direct", "bios", "uefi", "secureboot"])
def test_boots_small_and_its_agent_answers_mgmt_only(
    image: CatalogImage, prober: AgentProber, way: Way
) -> None:
    with boot.running(prober.equip(_machine(image, way))) as booted:
        prober.wait_healthy(booted, PATIENCE)
        with (
            pytest.raises(httpx.HTTPError),
            httpx.Client(verify=prober.stranger(), trust_env=False) as stranger,
        ):
            stranger.get(f"https://127.0.0.1:{booted.port}/v1/health", extensions=prober.extensions)
        memory = prober.get(booted, "/v1/info")["memory"]
    assert 0 < memory["total"] - memory["available"] <= 192 * 1024**2


def test_secure_boot_refuses_a_changed_loader(image: CatalogImage, tmp_path: Path) -> None:
    """The counter-proof: it is really on in the test above."""
    disk, loader = tmp_path / "disk.raw", tmp_path / "loader.efi"
    subprocess.run(["cp", "--sparse=always", image.raw, disk], check=True)
    esp = f"{disk}@@2M"
    subprocess.run(["mcopy", "-i", esp, "::EFI/BOOT/BOOTX64.EFI", loader], check=True)
    content = bytearray(loader.read_bytes())
    content[len(content) // 2] ^= 0xFF
    loader.write_bytes(content)
    subprocess.run(["mcopy", "-o", "-i", esp, loader, "::EFI/BOOT/BOOTX64.EFI"], check=True)
    with boot.running(_machine(image, "secureboot", disk)) as booted:
        booted.wait_serial("Access Denied", PATIENCE)


def test_a_machine_that_does_not_boot_is_not_published(
    image: CatalogImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a disk that holds nothing: the build fails with the console's words, the catalog stays."""

    def make_empty(*_: object) -> tuple[Path, str]:
        folder = tmp_path / "out"
        folder.mkdir()
        (folder / "disk.raw").write_bytes(bytes(1024**2))
        shutil.copy(image.kernel, folder / "vmlinuz")
        shutil.copy(image.initrd, folder / "initrd")
        return folder, "0" * 16

    direct = replace(_machine(image, "direct"), disk=tmp_path / "out" / "disk.raw")
    # A catalog of its own: other builds on this machine may move `current` meanwhile.
    monkeypatch.setenv("PILEUS_CACHE", str(tmp_path / "cache"))
    shutil.copytree(image.folder, tmp_path / "older", copy_function=os.symlink)
    older = catalog.publish("systemvm", image.input_hash, tmp_path / "older")
    monkeypatch.setattr(inputs, "collect", lambda *_: {"any": "other"})
    monkeypatch.setattr(pipeline, "make", make_empty)
    monkeypatch.setattr(pipeline, "machine", lambda *_: direct)
    with pytest.raises(BootError, match="no disk holds UUID="):
        build("systemvm", Quiet())
    assert catalog.images() == [older]
    assert catalog.current("systemvm") == older


def test_is_small(image: CatalogImage) -> None:
    assert image.qcow2.stat().st_size <= 150 * MB
    assert image.initrd.stat().st_size <= 1.5 * MB


def test_unchanged_inputs_are_found_not_built(image: CatalogImage) -> None:
    recorder = Recorder()
    assert build("systemvm", recorder) == image
    assert recorder.steps == []


def test_papers_name_what_is_inside(image: CatalogImage) -> None:
    manifest = image.manifest()
    names = {package.name.lower() for package in manifest.packages}
    wanted = {
        "haproxy",
        "dnsmasq-base",
        "keepalived",
        "nftables",
        "linux-image-cloud-amd64",
        "flask",
        "msgspec",
    }
    assert wanted <= names
    for document, key in (("sbom.cdx.json", "components"), ("sbom.spdx.json", "packages")):
        listed = {entry["name"].lower() for entry in json.loads((image.folder / document).read_text())[key]}
        assert wanted <= listed
    assert manifest.files["disk.raw"] == describe(image.raw)
    assert "systemvm/spec/bootstrap.py" in manifest.inputs


def test_second_build_of_the_same_inputs_is_the_same_bytes(
    image: CatalogImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tree, play, disk and papers made again elsewhere, by a Python elsewhere; only the base is reused."""
    (tmp_path / "venv").symlink_to(sys.prefix)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "bin" / "python"))
    wanted = recipe.load("systemvm")
    again, input_hash = pipeline.make(wanted, Source().copy(tmp_path / "source"), tmp_path, Quiet())
    assert input_hash == image.input_hash, "a file changed while this test ran"
    first = {path.name: describe(path) for path in image.folder.iterdir()}
    assert {path.name: describe(path) for path in again.iterdir()} == first
