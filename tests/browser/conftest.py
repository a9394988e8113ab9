"""Headless Chromium, and noVNC as the system VM's image has it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from images.builder.debian import Archive

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = (
    *("--no-sandbox", "--headless", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def novnc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a system VM has at /opt/pileus/novnc."""
    folder = tmp_path_factory.mktemp("novnc")
    package = Archive("trixie").fetch(("novnc",))["novnc"]
    subprocess.run(["dpkg-deb", "--extract", str(package), str(folder)], check=True)
    return folder / "usr" / "share" / "novnc"
