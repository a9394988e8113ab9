"""A host whose disks are full, on small file systems of their own; an agent that is killed at its work."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from appliance.hostagent.errors import NoRoom
from appliance.hostagent.eviction import Evictor
from appliance.hostagent.templates import TemplateCache
from appliance.hostagent.volumes import VolumeStore
from systemvm.engine.command import run
from systemvm.spec.host import TemplatePull, Volume
from tests.netns.appliance.hostagent.test_templates import ADDRESS, Storage, qcow2, wanted
from tests.netns.topology import Topology, eventually
from tests.pki import Authority

pytestmark = pytest.mark.netns

VOLUME = "0d3c2f00-0000-4000-8000-00000000000a"


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="pfd-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def small(folder: Path) -> Iterator[Path]:
    """A file system of 6 MiB."""
    place = folder / "small"
    place.mkdir()
    run(("mount", "-t", "tmpfs", "-o", "size=6m", "small", str(place)))
    yield place
    run(("umount", str(place)))


@pytest.fixture
def authority() -> Authority:
    return Authority("servers")


@pytest.fixture
def storage(lab: Topology, authority: Authority, folder: Path) -> Iterator[Storage]:
    machine = lab.machine("storage")
    machine.run("ip", "addr", "add", f"{ADDRESS}/32", "dev", "lo")
    with machine.entered():
        made = Storage(authority, folder)
        made.content = qcow2(folder)
        yield made
        made.close()


def pull(cache: TemplateCache, template: TemplatePull) -> Path:
    return cache.base(template, lambda _words: None, threading.Event())


def test_a_full_pool_says_how_full_and_keeps_nothing(folder: Path, small: Path) -> None:
    store = VolumeStore({"small": small}, TemplateCache(folder, folder, pull_timeout=1))
    (small / "ballast").write_bytes(b"x" * (6 << 20))
    volume = Volume(id=VOLUME, pool="small", bytes=1 << 30)
    with pytest.raises(NoRoom, match=f"volume {VOLUME} of {1 << 30} bytes: pool small has 0 bytes free"):
        store.ensure(volume, lambda _words: None, threading.Event())
    assert [path.name for path in small.iterdir()] == ["ballast"]
    (small / "ballast").unlink()
    assert store.ensure(volume, lambda _words: None, threading.Event())


def test_templates_make_room_for_each_other(storage: Storage, authority: Authority, small: Path) -> None:
    """Each has 4 MiB, the disk 6: only one fits, and one that is in use is never given up for another."""
    used: set[Path] = set()
    evictor = Evictor(small, 0.0, lambda: used)
    cache = TemplateCache(small, small, pull_timeout=20, backoff=0.02, evictor=evictor)
    first = wanted(storage, authority)
    path = pull(cache, first)
    evictor.monotonic = lambda: 1e9
    storage.content = storage.content + bytes(512)
    second = wanted(storage, authority)
    used.add(path)
    with pytest.raises(NoRoom, match=r"more bytes, \d+ are free"):
        pull(cache, second)
    assert [entry.name for entry in small.iterdir()] == [path.name], "nothing of it stays"
    used.clear()
    other = pull(cache, second)
    assert [entry.name for entry in small.iterdir()] == [other.name]


def test_a_pull_goes_on_after_the_agent_was_killed(
    storage: Storage, authority: Authority, folder: Path
) -> None:
    (folder / "cache").mkdir()
    template = wanted(storage, authority)
    code = (
        "import sys, threading, msgspec; from pathlib import Path;"
        "from appliance.hostagent.templates import TemplateCache;"
        "from systemvm.spec.host import TemplatePull;"
        "cache = TemplateCache(Path(sys.argv[1]), Path(sys.argv[1]), pull_timeout=60);"
        "cache.base(msgspec.json.decode(sys.stdin.read(), type=TemplatePull), print, threading.Event())"
    )
    storage.delay.clear()
    agent = subprocess.Popen([sys.executable, "-c", code, str(folder / "cache")], stdin=subprocess.PIPE)
    assert agent.stdin is not None
    agent.stdin.write(msgspec.json.encode(template))
    agent.stdin.close()
    part = folder / "cache" / f"{template.sha256}.part"
    eventually(lambda: part.exists() and part.stat().st_size > 0, "the first byte is there", 60)
    agent.kill()
    agent.wait()
    storage.delay.set()
    cache = TemplateCache(folder / "cache", folder, pull_timeout=20, backoff=0.02)
    path = pull(cache, template)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == template.sha256
    assert storage.requests[-1].startswith("bytes="), "it goes on where it was cut"
    assert [entry.name for entry in (folder / "cache").iterdir()] == [path.name]


def test_what_a_killed_agent_had_begun_in_a_pool_is_removed_by_the_next(folder: Path) -> None:
    store = VolumeStore({"primary": folder}, TemplateCache(folder, folder, pull_timeout=1))
    volume = Volume(id=VOLUME, pool="primary", bytes=1 << 30)
    store.ensure(volume, lambda _words: None, threading.Event())
    for name in ("a.new", "b.part", "b.part.origin"):
        (folder / name).write_bytes(b"x")
    assert store.clear_unfinished() == ["a.new", "b.part", "b.part.origin"]
    assert [path.name for path in folder.iterdir()] == [f"{VOLUME}.qcow2"]


def test_the_bases_of_volumes_are_known(folder: Path) -> None:
    store = VolumeStore({"primary": folder}, TemplateCache(folder, folder, pull_timeout=1))
    base = folder / "base.img"
    run(("qemu-img", "create", "-q", "-f", "raw", str(base), "1M"))
    for name in (f"{VOLUME}.qcow2", "other.new"):
        backing = ("-F", "raw", "-b", str(base))
        run(("qemu-img", "create", "-q", "-f", "qcow2", *backing, str(folder / name)))
    run(("qemu-img", "create", "-q", "-f", "qcow2", str(folder / "alone.qcow2"), "1M"))
    assert store.bases() == {base}
