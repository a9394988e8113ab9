"""Whoever waits for changes at a real agent does not hold up its end."""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest

from tests.netns.host_bench import HostBench
from tests.netns.topology import Topology

pytestmark = pytest.mark.netns


@pytest.fixture
def host() -> Iterator[HostBench]:
    """An agent without libvirt, which tells marks all the same."""
    with Topology() as lab:
        bench = HostBench(lab)
        bench.start_agent()
        yield bench
    bench.close()


def test_an_agent_that_is_stopped_lets_go_of_whoever_waits(host: HostBench) -> None:
    mark = host.get("/v1/changes")["mark"]
    waits = threading.Event()

    def wait() -> None:
        waits.set()
        with suppress(httpx.TransportError):
            host.request("GET", f"/v1/changes?seen={mark}&wait=100")

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert waits.wait(10)
    time.sleep(1)  # nothing tells that a request has arrived which is not answered
    host.stop_agent()  # raises after 30 s
    waiting.join(30)
    assert not waiting.is_alive()
