"""VMs and volumes that move between two hosts, each with an agent, relay and libvirtd of its own."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from appliance.hostagent.migration_door import MIGRATION_SUFFIX
from systemvm.spec.host import (
    Departure,
    DomainSnapshot,
    Landing,
    Peer,
    Power,
    SharedPool,
    Volume,
    VolumeFetch,
)
from tests.image.appliance.vm import BOOT_SECONDS, Vm
from tests.netns.host_bench import MANAGEMENT, HostBench, wait_for_text
from tests.netns.topology import Topology, eventually

pytestmark = pytest.mark.image


@dataclass
class Pair:
    """Two hosts on one management network."""

    here: HostBench
    there: HostBench

    def peer(self, to: HostBench, subject: str) -> Peer:
        """What opens a host's door for one VM or volume."""
        leaf = to.clients.issue(subject + MIGRATION_SUFFIX)
        certificate, key = leaf.write(to.paths.pki, f"move-{subject}")
        return Peer(
            address=to.address,
            server_name="host1.pileus.internal",
            server_ca=to.servers.pem,
            certificate=Path(certificate).read_text(),
            key=Path(key).read_text(),
        )


@pytest.fixture(scope="module")
def pair(probe_cache: Path) -> Iterator[Pair]:
    with Topology() as lab:
        made = [HostBench(lab, probe_cache, f"172.31.240.{at}") for at in (1, 2)]
        for bench in made:
            bench.start_libvirt()
            bench.start_agent()
            bench.start_relay()
        lab.wire(made[0].machine, "cable", made[1].machine, "cable")
        for bench in made:
            bench.machine.run("ip", "link", "set", "cable", "master", MANAGEMENT)
        yield Pair(*made)
    for bench in made:
        bench.close()


@pytest.fixture
def vm(pair: Pair) -> Iterator[Vm]:
    made = Vm(pair.here)
    assert made.put()["state"] == "running"
    wait_for_text(made.log, "VIRTIO", BOOT_SECONDS)
    yield made
    for bench in (pair.here, pair.there):
        assert bench.request("DELETE", f"/v1/domains/{made.uuid}").status_code == 204
        assert bench.get("/v1/volumes") == []


def test_a_running_vm_moves_with_its_disk_and_lives_on(pair: Pair, vm: Vm) -> None:
    other = Vm(pair.there, uuid=vm.uuid)
    other.root = vm.root
    departure = Departure(
        to=pair.peer(pair.there, vm.uuid),
        landing=Landing(disks={vm.root.id: "/nowhere.qcow2"}, serial_log="", vnc_socket=""),
        copies=(vm.root.id,),
    )
    closed = pair.here.request("PUT", f"/v1/departures/{vm.uuid}?wait=60", departure)
    assert "no landing of VM" in closed.text, "without a landing the door stays shut"
    assert vm.state() == "running", "what cannot move stays where it is"

    told = pair.there.put(f"/v1/landings/{vm.uuid}", vm.document())
    departure = msgspec.structs.replace(departure, landing=msgspec.convert(told, Landing))
    for _ in range(2):
        left = pair.here.put(f"/v1/departures/{vm.uuid}?wait=120", departure)
        assert (left["state"], left["reason"]) == ("stopped", "migrated to another host")
    assert other.put()["state"] == "running"
    second = Volume(id=str(uuid4()), pool="primary", bytes=1 << 20)
    other.put(volumes=(vm.root, second))
    wait_for_text(other.log, "VIRTIO", 30)
    assert other.boots() == 0, "the guest saw a disk come, and never booted there"
    assert pair.here.request("DELETE", f"/v1/domains/{vm.uuid}").status_code == 204
    assert pair.here.get("/v1/volumes") == [], "what was copied is gone where it was"
    assert other.state() == "running"


def test_a_running_vm_goes_back_to_its_memory(pair: Pair, vm: Vm) -> None:
    snapshot = DomainSnapshot(id=str(uuid4()), memory=True)
    path = f"/v1/domains/{vm.uuid}/snapshots/{snapshot.id}"
    pid = vm.qemu()
    for _ in range(2):
        assert pair.here.put(path, snapshot)["state"] == "running"
    before = vm.log.read_text().count("VIRTIO")
    volume = Volume(id=str(uuid4()), pool="primary", bytes=1 << 20)
    assert pair.here.request("POST", f"{path}/revert", snapshot).json()["state"] == "running"
    vm.put(volumes=(vm.root, volume))
    eventually(lambda: vm.log.read_text().count("VIRTIO") > before, "the guest goes on from its memory", 30)
    assert (vm.boots(), vm.qemu()) == (1, pid)
    vm.put()
    for _ in range(2):
        assert pair.here.request("DELETE", path).status_code == 200
    assert "is not in volume" in pair.here.request("POST", f"{path}/revert", snapshot).text
    disks = DomainSnapshot(id=str(uuid4()))
    path = f"/v1/domains/{vm.uuid}/snapshots/{disks.id}"
    assert pair.here.put(path, disks)["state"] == "running"
    assert pair.here.request("POST", f"{path}/revert", disks).status_code == 500, (
        "a running one keeps its disks"
    )
    vm.put(query="?force=1", power=Power.stopped)
    assert pair.here.request("POST", f"{path}/revert", disks).json()["state"] == "stopped"
    assert pair.here.request("DELETE", path).status_code == 200
    assert pair.here.request("DELETE", f"/v1/volumes/{volume.id}").status_code == 204


def test_a_volume_is_fetched_with_the_snapshots_in_it(pair: Pair, vm: Vm) -> None:
    snapshot = DomainSnapshot(id=str(uuid4()))
    path = f"/v1/domains/{vm.uuid}/snapshots/{snapshot.id}"
    pair.here.put(path, snapshot)
    vm.put(query="?force=1", power=Power.stopped)
    source = pair.peer(pair.here, vm.root.id)
    stranger = msgspec.structs.replace(source, certificate=pair.peer(pair.here, vm.uuid).certificate)
    for wrong in (stranger, pair.peer(pair.here, vm.uuid)):
        copy = VolumeFetch(volume=vm.root, source=wrong)
        assert pair.there.request("PUT", f"/v1/volumes/{vm.root.id}/fetch", copy).status_code >= 500
    assert pair.there.get("/v1/volumes") == []
    copy = VolumeFetch(volume=vm.root, source=source)
    for _ in range(2):
        assert pair.there.put(f"/v1/volumes/{vm.root.id}/fetch", copy) == {"done": True}
    other = Vm(pair.there, uuid=vm.uuid)
    other.root = vm.root
    assert other.put(power=Power.stopped)["state"] == "stopped"
    assert pair.there.request("POST", f"{path}/revert", snapshot).json()["state"] == "stopped"
    assert other.put()["state"] == "running"
    wait_for_text(other.log, "BOOTED", BOOT_SECONDS)


def test_hosts_share_a_folder_and_a_vm_goes_from_one_to_the_other(pair: Pair, tmp_path: Path) -> None:
    """Over one file: never on both at once, moved by its memory alone, stopped here and started there."""
    pool = SharedPool(id=str(uuid4()), path=str(tmp_path.resolve()))
    path = f"/v1/pools/{pool.id}"
    assert "mount it there" in pair.there.request("PUT", path, pool).text, "the mark is missing"
    pair.here.put(path, msgspec.structs.replace(pool, is_new=True))
    pair.there.put(path, pool)
    vm = Vm(pair.here)
    vm.root = msgspec.structs.replace(vm.root, pool=pool.id)
    other = Vm(pair.there, uuid=vm.uuid)
    other.root = vm.root
    file = tmp_path / f"{vm.root.id}.qcow2"
    assert vm.put()["state"] == "running"
    wait_for_text(vm.log, "VIRTIO", BOOT_SECONDS)
    assert 'Failed to get "write" lock' in str(other.put(500)), "QEMU locks what it writes to"
    assert file.exists()

    told = pair.there.put(f"/v1/landings/{vm.uuid}", vm.document())
    landing = msgspec.convert(told, Landing)
    assert landing.disks == {vm.root.id: str(file)}
    departure = Departure(to=pair.peer(pair.there, vm.uuid), landing=landing)
    assert pair.here.put(f"/v1/departures/{vm.uuid}?wait=120", departure)["state"] == "stopped"
    assert other.put()["state"] == "running"
    assert pair.here.request("DELETE", f"/v1/domains/{vm.uuid}?keep_volumes=1").status_code == 204
    assert (other.boots(), other.state()) == (0, "running")

    other.put(query="?force=1", power=Power.stopped)
    assert pair.there.request("DELETE", f"/v1/domains/{vm.uuid}?keep_volumes=1").status_code == 204
    assert vm.put()["state"] == "running", "and back, by a start"
    assert [volume["pool"] for volume in pair.there.get("/v1/volumes")] == [pool.id]
    assert [entry.name for entry in (tmp_path / "templates").iterdir()] == ["catalog-probe-1.img"]
    assert "has volumes" in pair.there.request("DELETE", path).text
    assert pair.here.request("DELETE", f"/v1/domains/{vm.uuid}").status_code == 204
    for bench in (pair.here, pair.there):
        assert bench.get("/v1/volumes") == []
        assert bench.request("DELETE", path).status_code == 204
    assert list(tmp_path.iterdir()) == []
