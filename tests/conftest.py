"""What every ring shares: the unit ring touches nothing outside its temporary folder."""

import os
import socket
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.rings import Turns, in_order
from tests.statements import share_compiled_statements

# Both of these read the wall clock, which tells nothing where several processes share the processors.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")


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


def pytest_configure(config: pytest.Config) -> None:
    """Let processes of one run share the rings, and databases of one process what was compiled for them."""
    share_compiled_statements()
    config.pluginmanager.register(Turns(config))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Dots for tests of several processes: pytest-instafail replaced the reporter that pytest-xdist told."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and session.config.pluginmanager.has_plugin("dsession"):
        reporter.showfspath = False


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order tests by ring; a test without a ring is a mistake."""
    items[:] = in_order(items, is_spread=hasattr(config, "workerinput"))
