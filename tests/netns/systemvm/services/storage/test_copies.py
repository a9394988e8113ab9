"""Copies of volumes: from a host's pool to the storage VM and back, with the real parts on both ends."""

import threading
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from appliance.hostagent.copies import Copies
from appliance.hostagent.errors import NotFound
from appliance.hostagent.hypervisor import Hypervisor
from appliance.hostagent.image_header import read_header
from appliance.hostagent.templates import TemplateCache
from appliance.hostagent.volumes import VolumeStore
from systemvm.engine.command import run
from systemvm.engine.ticket import TicketError
from systemvm.spec.appliances import ImageFormat, TemplateSource
from systemvm.spec.host import CopyState, CopyStatus, TemplatePull, Volume, VolumeCopy
from systemvm.spec.ticket import TicketPurpose
from tests.netns.storage_bench import ADDRESS, PORT, StorageBench

pytestmark = pytest.mark.netns
SIZE = 8 << 20
NAME = "storage.pileus.internal"


@dataclass
class HostBench:
    """A host's pool with one volume, an overlay with content of its own."""

    bench: StorageBench
    pool: Path
    volumes: VolumeStore
    copies: Copies
    volume: str

    def listed(self) -> str:
        source = TemplateSource(id=str(uuid4()), format=ImageFormat.qcow2)
        self.bench.put(source)
        return source.id

    def document(self, copy_id: str, *, subject: str = "", max_bytes: int = SIZE) -> VolumeCopy:
        token = self.bench.signer.token(TicketPurpose.upload, subject or copy_id, max_bytes=max_bytes)
        url = f"https://{ADDRESS}:{PORT}/v1/uploads/{copy_id}?ticket={token}"
        return VolumeCopy(
            id=copy_id,
            volume=self.volume,
            url=url,
            server_name=NAME,
            server_ca=self.bench.server_ca.pem,
        )

    def ended(self, document: VolumeCopy) -> CopyStatus:
        with self.bench.host.entered():
            return self.copies.put(document, wait=60.0)

    def pull(self, copy_id: str, sha256: str, size: int) -> Path:
        """A new volume of it."""
        token = self.bench.signer.token(TicketPurpose.template, copy_id)
        base = TemplatePull(
            template=copy_id,
            url=f"https://{ADDRESS}:{PORT}/v1/templates/{copy_id}?ticket={token}",
            sha256=sha256,
            server_name=NAME,
            server_ca=self.bench.server_ca.pem,
            once=True,
        )
        volume = Volume(id=str(uuid4()), pool="primary", bytes=size, base=base)
        with self.bench.host.entered():
            assert self.volumes.ensure(volume, lambda _step: None, threading.Event())
        return self.volumes.path(volume)

    def files(self) -> set[str]:
        return {path.name for path in self.pool.iterdir()}


@pytest.fixture
def host(bench: StorageBench, tmp_path: Path) -> HostBench:
    pool, cache, volume = tmp_path / "pool", tmp_path / "cache", str(uuid4())
    pool.mkdir()
    cache.mkdir()
    # Half of the content is in the base, half in the overlay: a copy has both.
    base, path = cache / "base.img", pool / f"{volume}.qcow2"
    run(("qemu-img", "create", "-q", "-f", "qcow2", str(base), str(SIZE)))
    run(("qemu-io", "-f", "qcow2", "-c", "write -P 11 0 1M", str(base)))
    run(("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(base), str(path), str(SIZE)))
    run(("qemu-io", "-f", "qcow2", "-c", "write -P 22 2M 1M", str(path)))
    (pool / "left.copy").touch()
    volumes = VolumeStore({"primary": pool}, TemplateCache(cache, tmp_path, pull_timeout=30))
    copies = Copies(volumes, Hypervisor("test:///default"), dict, backoff=0.01)
    return HostBench(bench, pool, volumes, copies, volume)


def test_a_volume_goes_to_the_storage_vm_flattened_and_comes_back(host: HostBench) -> None:
    assert host.files() == {f"{host.volume}.qcow2"}, "what an earlier agent left is removed"
    copy_id = host.listed()
    document = host.document(copy_id)
    done = host.ended(document)
    assert (done.state, done.error) == (CopyState.done, "")
    status = host.bench.final(copy_id)
    assert (status["state"], status["sha256"], status["size"]) == ("ready", done.sha256, done.size)
    assert status["virtual_size"] == SIZE
    assert host.files() == {f"{host.volume}.qcow2"}, "the copy does not stay here"

    made = host.pull(copy_id, done.sha256, 2 * SIZE)
    assert read_header(made).virtual_size == 2 * SIZE
    for pattern in ("read -P 11 0 1M", "read -P 0 1M 1M", "read -P 22 2M 1M"):
        assert (
            "Pattern verification failed"
            not in run(("qemu-io", "-f", "qcow2", "-c", pattern, str(made))).stdout
        )
    assert "backing" not in run(("qemu-img", "info", "-f", "qcow2", str(made))).stdout
    assert host.files() == {f"{host.volume}.qcow2", made.name}, "nothing is kept for others"

    assert host.ended(document) == done, "the same again is the same"
    assert host.copies.delete(copy_id, wait=1.0)
    again = host.ended(document)
    assert again.state is CopyState.done, "one that the storage VM has is done"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"subject": str(uuid4())}, "the ticket is for"),
        ({"max_bytes": 1000}, "the ticket allows 1000"),
    ],
)
def test_what_the_storage_vm_refuses_fails_with_its_words_and_leaves_nothing(
    host: HostBench, changes: dict[str, object], words: str
) -> None:
    copy_id = host.listed()
    status = host.ended(host.document(copy_id, **changes))  # type: ignore[arg-type]
    assert status.state is CopyState.failed
    assert words in status.error
    assert TicketError.code not in status.error
    assert "ticket=" not in status.error
    assert host.files() == {f"{host.volume}.qcow2"}
    assert host.ended(host.document(copy_id)).state is CopyState.done, "and may be asked for again"


def test_a_copy_is_cancelled_and_leaves_nothing(host: HostBench) -> None:
    copy_id = host.listed()
    lock = host.copies._locks[host.volume]
    with lock:  # another copy of the same volume is under way
        with host.bench.host.entered():
            waiting = host.copies.put(host.document(copy_id), wait=0.0)
        assert waiting.state is CopyState.copying
        assert host.copies.delete(copy_id, wait=10.0)
    with pytest.raises(NotFound):
        host.copies.get(copy_id)
    assert host.files() == {f"{host.volume}.qcow2"}
    assert not [name for name in host.bench.files("uploads") if name.startswith(copy_id)]


def test_a_volume_that_is_not_here_is_refused(host: HostBench) -> None:
    host.volume = str(uuid4())
    with pytest.raises(NotFound):
        host.ended(host.document(str(uuid4())))
