"""Shared pools of two hosts over one folder: marks, hostile paths, lost mounts, whose files are whose."""

import os
import threading
from pathlib import Path

import pytest

from appliance.hostagent.errors import Conflict, HostError, Refused
from appliance.hostagent.shared_pools import MARKER, PoolLost, SharedPools
from appliance.hostagent.shared_templates import _is_ours
from appliance.hostagent.templates import TemplateCache
from appliance.hostagent.volumes import VolumeStore
from systemvm.spec.host import SharedPool, TemplatePull, Volume

pytestmark = pytest.mark.unit

POOL = "cccccccc-0000-4000-8000-00000000000a"
OTHER = "cccccccc-0000-4000-8000-00000000000b"
DISK = "cccccccc-0000-4000-8000-000000000001"


class Hosts:
    """Two hosts, and a folder below the root that both allow."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "mnt"
        self.shared = self.root / "shared"
        self.shared.mkdir(parents=True)
        self.own = folder / "own"
        self.own.mkdir()
        self.one, self.two = (
            SharedPools(folder / name, (str(self.root),), name, (self.own,)) for name in ("host1", "host2")
        )

    def pool(self, path: Path | str = "", **more: object) -> SharedPool:
        return SharedPool(id=POOL, path=str(path or self.shared), **more)  # type: ignore[arg-type]

    def store(self, pools: SharedPools) -> VolumeStore:
        cache = TemplateCache(self.own / "cache", self.own, pull_timeout=1)
        return VolumeStore({"primary": self.own}, cache, pools)


@pytest.fixture
def hosts(tmp_path: Path) -> Hosts:
    return Hosts(tmp_path.resolve())


def test_one_host_marks_the_folder_and_the_others_find_the_mark(hosts: Hosts) -> None:
    with pytest.raises(PoolLost, match=f"has no {MARKER}: mount it"):
        hosts.two.connect(hosts.pool())
    assert hosts.two.known() == {}
    for _ in range(2):
        assert hosts.one.connect(hosts.pool(is_new=True)).total > 0
    hosts.two.connect(hosts.pool())
    assert hosts.one.reached() == hosts.two.reached() == {POOL: hosts.shared}
    foreign = SharedPool(id=OTHER, path=str(hosts.root / "more"), is_new=True)
    (hosts.root / "more").mkdir()
    hosts.one.connect(foreign)
    with pytest.raises(PoolLost, match=f"is pool {OTHER}, not {POOL}"):
        hosts.two.connect(hosts.pool(hosts.root / "more"))
    assert {path.name for path in hosts.shared.iterdir()} == {MARKER, "templates"}


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/etc", "below .* only"),
        ("{root}", "below .* only"),
        ("{root}/../own", "letters, digits"),
        ("{root}/.hidden", "letters, digits"),
        ("{root}/a b", "letters, digits"),
        ("{root}/a,b", "letters, digits"),
        ("{root}/shared/", "letters, digits"),
        ("mnt/shared", "letters, digits"),
        ("{root}/none", "not a folder here"),
        ("{root}/file", "not a folder here"),
        ("{root}/link", "by a symbolic link"),
        ("{root}/shared/inner", "overlaps"),
    ],
)
def test_a_document_makes_no_other_folder_a_pool(hosts: Hosts, path: str, words: str) -> None:
    (hosts.root / "file").touch()
    (hosts.root / "link").symlink_to(hosts.shared)
    hosts.one.connect(SharedPool(id=OTHER, path=str(hosts.shared), is_new=True))
    (hosts.shared / "inner").mkdir()
    with pytest.raises(Refused, match=words):
        hosts.one.connect(hosts.pool(path.format(root=hosts.root), is_new=True))
    assert set(hosts.one.known()) == {OTHER}


def test_a_mark_is_no_link_to_follow(hosts: Hosts, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text(POOL)
    (hosts.shared / MARKER).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PoolLost):
        hosts.one.connect(hosts.pool())


def test_nothing_is_written_while_the_folder_is_not_mounted(hosts: Hosts) -> None:
    hosts.one.connect(hosts.pool(is_new=True))
    store, volume = hosts.store(hosts.one), Volume(id=DISK, pool=POOL, bytes=1 << 20)
    store.path(volume).touch()
    away = hosts.shared.rename(hosts.root / "away")
    hosts.shared.mkdir()
    with pytest.raises(PoolLost, match="mount it there again"):
        store.path(volume)
    with pytest.raises(PoolLost):
        store.delete(DISK, {})
    assert (list(store.pools()), list(hosts.shared.iterdir())) == (["primary"], [])
    hosts.shared.rmdir()
    away.rename(hosts.shared)
    store.delete(DISK, {})
    store.delete(DISK, {})
    assert not store.path(volume).exists()


def test_what_another_host_is_making_is_left_alone(hosts: Hosts) -> None:
    hosts.one.connect(hosts.pool(is_new=True))
    hosts.two.connect(hosts.pool())
    first, second = hosts.store(hosts.one), hosts.store(hosts.two)
    path = first.path(Volume(id=DISK, pool=POOL, bytes=1))
    for store in (first, second):
        store.unfinished(path, ".new").touch()
        store.unfinished(path, ".copy", OTHER).touch()
    assert first.clear_unfinished() == [f"{DISK}.host1.new"]
    assert [left.name for left in second.leftovers(".new")] == [f"{DISK}.host2.new"]
    assert [left.name for left in second.leftovers(".copy")] == [f"{OTHER}.host2.copy"]
    assert first.volume_of(path) == DISK


def test_a_pool_with_volumes_is_not_given_up(hosts: Hosts) -> None:
    hosts.one.connect(hosts.pool(is_new=True))
    hosts.two.connect(hosts.pool())
    volume = hosts.shared / f"{DISK}.qcow2"
    volume.touch()
    with pytest.raises(Conflict, match=DISK):
        hosts.one.drop(POOL)
    volume.unlink()
    (hosts.shared / "operators-own").touch()
    for _ in range(2):
        hosts.one.drop(POOL)
        hosts.two.drop(POOL)
    assert [path.name for path in hosts.shared.iterdir()] == ["operators-own"]
    assert (hosts.one.known(), hosts.two.known()) == ({}, {})


def test_hosts_take_turns_at_a_template_and_end_with_one_copy(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both want it at once, where the file system has no locks: the first whole one stays."""
    hosts.one.connect(hosts.pool(is_new=True))
    hosts.two.connect(hosts.pool())
    both, pulled = threading.Barrier(2), []

    def pull(cache: TemplateCache, key: str, wanted: object, path: Path, *more: object) -> None:
        part = cache._part(path)
        part.write_text(part.name)
        both.wait(10)
        pulled.append(part.name)
        cache._publish(part, path)

    make_link, named = os.link, []

    def link(part: Path, path: Path) -> None:
        make_link(part, path)
        named.append(part.name)

    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr(TemplateCache, "_pull", pull)
    monkeypatch.setattr("appliance.hostagent.shared_templates._is_ours", lambda _descriptor: True)
    wanted, failures = TemplatePull(template="t", url="https://x"), []

    def work(pools: SharedPools) -> None:
        try:
            cache = hosts.store(pools).templates_for(hosts.shared / f"{DISK}.qcow2")
            assert (
                cache.base(wanted, lambda _step: None, threading.Event()) == hosts.shared / "templates/t.img"
            )
        except (AssertionError, HostError) as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(pools,)) for pools in (hosts.one, hosts.two)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (failures, sorted(pulled)) == ([], ["t.host1.part", "t.host2.part"])
    entry = hosts.shared / "templates/t.img"
    assert named == [entry.read_text()], "the first to have its name stays, and no other got it"
    assert entry.stat().st_nlink == 1
    assert {path.name for path in entry.parent.iterdir()} == {"t.img", "t.lock"}


def test_one_host_waits_while_another_process_has_the_lock(hosts: Hosts) -> None:
    path = hosts.shared / "t.lock"
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        with path.open("wb") as file:
            os.write(ready[1], b"1" if _is_ours(file.fileno()) else b"0")
            os.read(done[0], 1)
        os._exit(0)
    try:
        assert os.read(ready[0], 1) == b"1"
        with path.open("wb") as file:
            assert not _is_ours(file.fileno())
            os.write(done[1], b"1")
            os.waitpid(child, 0)
            assert _is_ours(file.fileno())
    finally:
        for end in (*ready, *done):
            os.close(end)
