"""The agent tells systemd that it lives, and only while its worker does."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.systemvm.agent.conftest import Agent
from tests.netns.systemvm.agent.processes import worker_of

pytestmark = pytest.mark.netns


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket that systemd gives its services (sd_notify(3))."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(10)
        yield listening


def test_a_hung_worker_gives_no_sign_of_life(agent: Agent, systemd: socket.socket) -> None:
    agent.start(NOTIFY_SOCKET=systemd.getsockname(), WATCHDOG_USEC="1500000")
    assert _signs(systemd, 3)
    worker = worker_of(agent.machine)
    os.kill(worker, signal.SIGSTOP)
    systemd.settimeout(2)
    with pytest.raises(TimeoutError):
        _signs(systemd, 2)  # one may have been on its way
    os.kill(worker, signal.SIGCONT)
    assert _signs(systemd, 1)
    assert agent.is_healthy()


def _signs(systemd: socket.socket, count: int) -> bool:
    """Whether the next messages are signs of life. Raises TimeoutError."""
    return all([_next_sign(systemd) for _ in range(count)])


def _next_sign(systemd: socket.socket) -> bool:
    """Whether the next message that is about that is a sign of life. Raises TimeoutError."""
    while True:
        message = systemd.recv(4096)
        if not message.startswith(b"READY=1"):
            return message == b"WATCHDOG=1"
