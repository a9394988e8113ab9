"""Headless Chromium, and noVNC as the system VM's image has it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from images.builder.debian import Archive
from tests.chromium import running_chromium


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def novnc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a system VM has at /opt/pileus/novnc."""
    folder = tmp_path_factory.mktemp("novnc")
    package = Archive("trixie").fetch(("novnc",))["novnc"]
    subprocess.run(["dpkg-deb", "--extract", str(package), str(folder)], check=True)
    return folder / "usr" / "share" / "novnc"
