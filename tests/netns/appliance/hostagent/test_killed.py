"""The host agent is killed while it pulls a template for a volume; the next one, asked again, ends it."""

import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from systemvm.spec.host import Volume
from tests.netns.appliance.hostagent.test_templates import ADDRESS, Storage, qcow2, wanted
from tests.netns.host_bench import HostBench
from tests.netns.topology import Topology, eventually
from tests.pki import Authority
from tests.processes import signal_tree

pytestmark = pytest.mark.netns

VOLUME = "0d3c2f00-0000-4000-8000-00000000000b"


@pytest.fixture
def host() -> Iterator[HostBench]:
    with Topology() as lab:
        bench = HostBench(lab)
        bench.start_libvirt()
        bench.start_agent()
        yield bench
    bench.close()


@pytest.fixture
def storage(host: HostBench) -> Iterator[Storage]:
    folder = Path(tempfile.mkdtemp(prefix="pkt-"))
    host.machine.run("ip", "addr", "add", f"{ADDRESS}/32", "dev", "lo")
    with host.machine.entered():
        made = Storage(Authority("storage"), folder)
        made.content = qcow2(folder)
        yield made
        made.close()
    shutil.rmtree(folder)


def kill(host: HostBench) -> None:
    """Master and workers at once, as when their control group is killed.

    The master first: it starts another worker for one that ends, and that one would hold the port.
    """
    assert host.agent is not None
    signal_tree(host.agent.pid, signal.SIGKILL)
    host.agent.wait(30)


def test_the_next_agent_ends_what_was_begun(host: HostBench, storage: Storage) -> None:
    base = wanted(storage, storage.authority)
    volume = Volume(id=VOLUME, pool="primary", bytes=16 << 20, base=base)
    storage.delay.clear()

    def ask() -> None:
        with suppress(httpx.TransportError):
            host.request("PUT", f"/v1/volumes/{VOLUME}", volume)

    asking = threading.Thread(target=ask)
    asking.start()
    part = host.paths.templates / f"{base.sha256}.part"
    eventually(lambda: part.exists() and part.stat().st_size > 0, "the pull has begun", 60)
    pool = host.paths.pools / "primary"
    (pool / "half.new").write_bytes(b"x")  # as a qemu-img that was cut leaves it
    kill(host)
    asking.join()
    storage.delay.set()
    host.start_agent()
    eventually(lambda: host.get("/v1/volumes") == [], "nothing half-made counts as a volume", 30)
    assert not (pool / "half.new").exists()
    eventually(
        lambda: host.request("PUT", f"/v1/volumes/{VOLUME}", volume).status_code == 200, "it is made", 60
    )
    assert host.get(f"/v1/volumes/{VOLUME}")["bytes"] == 16 << 20
    assert storage.requests[1].startswith("bytes="), "the pull went on where it was cut"
    assert {path.name for path in pool.iterdir()} == {f"{VOLUME}.qcow2", f"{VOLUME}.keep"}
    assert [path.name for path in host.paths.templates.iterdir()] == [f"{base.sha256}.img"]
