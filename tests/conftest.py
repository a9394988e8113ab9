"""What every ring shares: the unit ring touches nothing outside its temporary folder."""

import os
import socket
import subprocess
from collections.abc import Callable
from typing import Any

import pytest


def _forbid(what: str) -> Callable[..., Any]:
    def refuse(*args: object, **kwargs: object) -> Any:
        raise AssertionError(f"a unit test may not use {what}: pass a recording from systemvm.engine.testing")

    return refuse


@pytest.fixture
def closed_doors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ban subprocesses and network connections for one test."""
    monkeypatch.setattr(subprocess, "Popen", _forbid("subprocess"))
    monkeypatch.setattr(os, "system", _forbid("os.system"))
    # AF_UNIX socket pairs stay: event loops and threads use them inside the process.
    monkeypatch.setattr(socket.socket, "connect", _forbid("socket.connect"))
    monkeypatch.setattr(socket.socket, "bind", _forbid("socket.bind"))
    monkeypatch.setattr(socket, "create_connection", _forbid("socket.create_connection"))


@pytest.fixture(autouse=True)
def _unit_ring_touches_nothing(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("unit"):
        request.getfixturevalue("closed_doors")


#: Quick rings first, so that a broken import is not found after half an hour of VMs.
RINGS = ("unit", "contract", "netns", "image", "browser", "cloud")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order tests by ring; a test without a ring is a mistake."""
    for item in items:
        if not any(item.get_closest_marker(ring) for ring in RINGS):
            raise pytest.UsageError(
                f"{item.nodeid} has no ring: mark its module with one of {', '.join(RINGS)}"
            )
    items.sort(key=_ring)


def _ring(item: pytest.Item) -> int:
    return max(index for index, ring in enumerate(RINGS) if item.get_closest_marker(ring))
