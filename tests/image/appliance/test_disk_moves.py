"""A disk moves to another pool while its guest writes to it; whoever dies meanwhile, nothing is lost."""

import os
import re
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import libvirt
import msgspec
import pytest

from appliance.hostagent.block_copies import disks_of
from appliance.launcher.libvirt import DAEMON_NAME, libvirt_uri
from systemvm.engine.command import run
from systemvm.spec.host import DomainSnapshot, Peer, Power, SharedPool, Volume, VolumeFetch
from tests.image.appliance.vm import BOOT_SECONDS, Vm
from tests.netns.host_bench import HostBench
from tests.netns.topology import Topology, eventually
from tests.processes import signal_tree

pytestmark = pytest.mark.image

SHARED, SMALL = str(uuid4()), str(uuid4())
#: So much is copied that somebody can die meanwhile.
CONTENT = 192 << 20
#: Content that takes no room in the file that it is in, and more than the small pool has in any other.
SQUEEZED, SMALL_SIZE = 320, 300


@dataclass
class Place:
    """A host with its own pool, a shared one, and a small shared one, and a guest that counts on its disk."""

    host: HostBench
    vm: Vm
    folders: dict[str, Path]

    def move(self, volume: Volume, to: str, wait: float = 100) -> httpx.Response:
        """Ask for it and wait for its end."""
        peer = Peer(address=self.host.address, server_name="", server_ca="", certificate="", key="")
        target = msgspec.structs.replace(volume, pool=to)
        copy = VolumeFetch(volume=target, source=peer, pool=volume.pool, keep=volume.base is None)
        return self.host.request("PUT", f"/v1/domains/{self.vm.uuid}/volumes/{volume.id}?wait={wait}", copy)

    def files(self, volume: Volume) -> set[str]:
        """The pools that have a file of it."""
        return {pool for pool, folder in self.folders.items() if (folder / f"{volume.id}.qcow2").exists()}

    def used(self, volume: Volume) -> list[str]:
        """The pools whose file of it the VM has."""
        listed = self.host.get("/v1/volumes")
        return [
            str(one["pool"]) for one in listed if one["id"] == volume.id and one["domain"] == self.vm.uuid
        ]

    def said(self) -> str:
        """All that the guest printed."""
        return self.vm.log.read_text(errors="replace")

    def wrote(self) -> int:
        """The last number that the guest has told."""
        found = re.findall(r"WROTE (\d+)\n", self.said())
        return int(found[-1]) if found else 0

    def wait_for_writes(self) -> None:
        before = self.wrote()
        eventually(lambda: self.wrote() >= before + 3, "the guest goes on writing", BOOT_SECONDS)

    def start_again(self) -> None:
        """From the disk alone; the guest must find all that it told of."""
        last = self.wrote()
        self.vm.put(query="?force=1", power=Power.stopped)
        before = len(self.said())
        self.vm.put()

        def looked() -> list[str]:
            return re.findall(r"FOUND (\d+) LOST (-?\d+)\n", self.said()[before:])

        eventually(lambda: bool(looked()), "the guest looks at its disk", BOOT_SECONDS)
        ((found, lost),) = looked()
        assert (int(found) >= last, lost) == (True, "0"), f"{found} found of {last}, {lost} lost"
        self.wait_for_writes()

    @contextmanager
    def libvirt(self) -> Iterator[Any]:
        connection = libvirt.open(libvirt_uri(self.host.paths))
        try:
            yield connection.lookupByUUIDString(self.vm.uuid)
        finally:
            connection.close()

    def in_the_middle(self, to: str, die: Callable[[], None]) -> None:
        """Do something while a disk is copied, and its agent can do nothing.

        A machine may copy it all between two looks; then it goes back, and the next copy is looked at.
        """
        for _ in range(5):
            asking = threading.Thread(target=self._ask, args=(to,), daemon=True)
            asking.start()
            try:
                if is_caught := self._stop_agent_in_copy(asking, to):
                    die()
            finally:
                self.signal_agent(signal.SIGCONT)
            asking.join(150)
            assert not asking.is_alive(), "the agent never answered"
            if is_caught:
                return
            self._go_back(to)
        raise AssertionError(f"five times the copy had ended before its agent was stopped; raise {CONTENT=}")

    def _ask(self, to: str) -> None:
        with suppress(httpx.TransportError):
            self.move(self.vm.root, to)

    def _stop_agent_in_copy(self, asking: threading.Thread, to: str) -> bool:
        """Whether it came in time: libvirt copies, and the agent has not begun to take the new file over."""
        into = self.folders[to] / f"{self.vm.root.id}.qcow2"
        with self.libvirt() as domain:
            while asking.is_alive():
                if any(disk.into == into for disk in disks_of(domain)):
                    self.signal_agent(signal.SIGSTOP)
                    is_late = self.standing.exists() or all(disk.into != into for disk in disks_of(domain))
                    return not is_late
        return False

    def _go_back(self, to: str) -> None:
        root = self.vm.root
        assert (self.used(root), self.delete(root, root.pool)) == ([to], 204)
        back = self.move(msgspec.structs.replace(root, pool=to), root.pool)
        assert (back.status_code, self.delete(root, to)) == (200, 204), back.text

    @property
    def standing(self) -> Path:
        """There while the agent lets the guest stand still."""
        return self.host.paths.domains / self.vm.uuid / "standing"

    def signal_agent(self, number: int) -> None:
        assert self.host.agent is not None
        if self.host.agent.poll() is None:
            signal_tree(self.host.agent.pid, number)

    def kill_agent(self) -> None:
        self.signal_agent(signal.SIGKILL)
        assert self.host.agent is not None
        self.host.agent.wait(30)

    def delete(self, volume: Volume, pool: str) -> int:
        return self.host.request("DELETE", f"/v1/volumes/{volume.id}?pool={pool}").status_code


@pytest.fixture(scope="module")
def place(probe_cache: Path) -> Iterator[Place]:
    folders = {pool: Path(tempfile.mkdtemp(prefix="pdm-")) for pool in (SHARED, SMALL)}
    run(("mount", "-t", "tmpfs", "-o", f"size={SMALL_SIZE}m", "small", str(folders[SMALL])))
    try:
        with Topology() as lab:
            host = HostBench(lab, probe_cache)
            host.start_libvirt()
            host.start_agent()
            for pool, folder in folders.items():
                host.put(f"/v1/pools/{pool}", SharedPool(id=pool, path=str(folder), is_new=True))
            vm = Vm(host, "count.now")
            vm.root = msgspec.structs.replace(vm.root, bytes=1 << 30)
            vm.put(power=Power.stopped)
            folders["primary"] = host.paths.pools / "primary"
            disk = folders["primary"] / f"{vm.root.id}.qcow2"
            run(("qemu-io", "-f", "qcow2", "-c", f"write -P 7 512M {CONTENT}", str(disk)))
            vm.put()
            made = Place(host, vm, folders)
            made.wait_for_writes()
            yield made
        host.close()
    finally:
        run(("umount", str(folders[SMALL])))
        for pool in (SHARED, SMALL):
            shutil.rmtree(folders[pool])


def test_a_guest_writes_on_while_its_disk_moves(place: Place) -> None:
    vm, root = place.vm, place.vm.root
    moved = msgspec.structs.replace(root, pool=SHARED)
    pid = vm.qemu()
    for _ in range(2):
        answer = place.move(root, SHARED)
        assert answer.json()["state"] == "running", answer.text
    assert place.used(root) == [SHARED]
    assert (vm.qemu(), vm.boots()) == (pid, 1)
    assert "by now, not in" in str(vm.put(500)), "a document from before would plug the old file"
    assert place.delete(root, SHARED) == 409
    assert place.delete(root, "primary") == 204
    vm.root = moved
    vm.put()
    place.wait_for_writes()
    file = place.folders[SHARED] / f"{root.id}.qcow2"
    assert (
        f"{place.folders[SHARED]}/templates/catalog-probe-1.img"
        in run(("qemu-img", "info", "-U", str(file))).stdout
    ), "it is based on the same template there"
    place.start_again()


def test_an_agent_is_killed_meanwhile_and_the_next_gives_up_or_goes_on(place: Place) -> None:
    """On request: the copy is libvirt's and goes on by itself."""
    vm, root = place.vm, place.vm.root
    here = root.pool
    there = "primary" if here == SHARED else SHARED
    place.in_the_middle(there, place.kill_agent)
    assert place.files(root) == {here, there}
    place.host.start_agent()
    assert place.used(root) == [here]
    assert place.delete(root, there) == 204
    with place.libvirt() as domain:
        assert [disk.into for disk in disks_of(domain)] == [None]
    assert place.files(root) == {here}

    place.in_the_middle(there, place.kill_agent)
    inode = (place.folders[there] / f"{root.id}.qcow2").stat().st_ino
    place.host.start_agent()
    assert place.move(root, there).status_code == 200
    assert (place.folders[there] / f"{root.id}.qcow2").stat().st_ino == inode, "it did not begin anew"
    assert (place.used(root), place.delete(root, here)) == ([there], 204)
    vm.root = msgspec.structs.replace(root, pool=there)
    place.wait_for_writes()


def test_a_vm_that_dies_meanwhile_has_its_old_file(place: Place) -> None:
    vm, root = place.vm, place.vm.root
    there = "primary" if root.pool == SHARED else SHARED

    def die() -> None:
        os.kill(vm.qemu(), signal.SIGKILL)
        eventually(lambda: not _runs(place), "libvirt sees its end", 30)

    place.in_the_middle(there, die)
    assert (place.files(root), place.used(root)) == ({root.pool}, [root.pool])
    refused = place.move(root, there).text
    assert "it does not run" in refused
    place.start_again()


def test_libvirtd_is_killed_meanwhile(place: Place) -> None:
    vm, root = place.vm, place.vm.root
    there = "primary" if root.pool == SHARED else SHARED

    def die() -> None:
        daemons = place.host.daemons
        os.kill(daemons.pid(DAEMON_NAME) or 0, signal.SIGKILL)
        eventually(lambda: not daemons.is_running(DAEMON_NAME), "it is gone", 30)
        place.host.start_libvirt()

    place.in_the_middle(there, die)
    assert place.move(root, there).status_code == 200
    assert (place.used(root), place.delete(root, root.pool)) == ([there], 204)
    vm.root = msgspec.structs.replace(root, pool=there)
    place.start_again()


def test_a_guest_that_an_agent_left_standing_goes_on(place: Place) -> None:
    place.kill_agent()
    place.standing.touch()
    with place.libvirt() as domain:
        domain.suspend()
        place.host.start_agent()
        eventually(lambda: domain.state()[0] == libvirt.VIR_DOMAIN_RUNNING, "the guest goes on", 60)
    place.wait_for_writes()


def test_a_pool_that_gets_full_refuses_and_the_guest_has_its_disk(place: Place, tmp_path: Path) -> None:
    vm, volume = place.vm, Volume(id=str(uuid4()), pool="primary", bytes=SQUEEZED << 20)
    place.host.put(f"/v1/volumes/{volume.id}", volume)
    file, full = place.folders["primary"] / f"{volume.id}.qcow2", tmp_path / "full"
    run(("qemu-io", "-f", "qcow2", "-c", f"write -P 7 0 {SQUEEZED}M", str(file)))
    run(("qemu-img", "convert", "-c", "-f", "qcow2", "-O", "qcow2", str(file), str(full)))
    shutil.copy(full, file)
    vm.put(volumes=(vm.root, volume))
    assert "are needed and" in place.move(vm.root, SMALL).text, "what is known to be too much is not begun"
    ended = place.move(volume, SMALL)
    assert "bytes free: see that it has room" in ended.text, ended.text
    assert (place.files(volume), place.used(volume)) == ({"primary"}, ["primary"])
    place.wait_for_writes()
    assert place.move(volume, SHARED).status_code == 200, "there is room in the other"
    assert (place.used(volume), place.delete(volume, "primary")) == ([SHARED], 204)
    moved = place.folders[SHARED] / file.name
    read = run(("qemu-io", "-r", "-U", "-f", "qcow2", "-c", f"read -P 7 0 {SQUEEZED}M", str(moved)))
    assert "verification failed" not in read.stdout
    assert moved.with_suffix(".keep").exists(), "it outlives the VM there too"
    snapshot = DomainSnapshot(id=str(uuid4()))
    path = f"/v1/domains/{vm.uuid}/snapshots/{snapshot.id}"
    place.host.put(path, snapshot)
    volume = msgspec.structs.replace(volume, pool=SHARED)
    assert "has 1 VM snapshots, which a copy would not have" in place.move(volume, "primary").text
    assert place.files(volume) == {SHARED}
    vm.put()
    assert place.delete(volume, SHARED) == 204


def test_a_guest_whose_disk_found_no_room_goes_on_once_there_is_some(place: Place) -> None:
    """When somebody makes room, and when its disk is moved to a pool that has some."""
    vm = Vm(place.host, "count.now")
    vm.mac, vm.root = "02:00:00:00:00:02", msgspec.structs.replace(vm.root, pool=SMALL)
    small = Place(place.host, vm, place.folders)
    vm.put()
    for way in ("room is made", "it moves"):
        small.wait_for_writes()
        with filled(place.folders[SMALL]) as filler:
            eventually(lambda: "is full" in vm.reason(), "the guest stands still", BOOT_SECONDS)
            if way == "it moves":
                moved = small.move(vm.root, "primary")
                assert (moved.status_code, small.used(vm.root)) == (200, ["primary"]), moved.text
                small.wait_for_writes()
                assert filler.exists()
    assert (vm.boots(), small.delete(vm.root, SMALL)) == (1, 204)
    vm.root = msgspec.structs.replace(vm.root, pool="primary")
    small.start_again()
    vm.put(query="?force=1", power=Power.stopped)


@contextmanager
def filled(folder: Path) -> Iterator[Path]:
    """A folder whose file system has no room left."""
    filler = folder / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(folder).free)
    yield filler
    filler.unlink()


def _runs(place: Place) -> bool:
    with place.libvirt() as domain:
        return bool(domain.isActive())
