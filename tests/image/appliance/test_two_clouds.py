"""Two clouds on one machine, each in a namespace: neither meets the other, nor the machine's libvirt."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.image.appliance.vm import BOOT_SECONDS, Vm
from tests.netns.host_bench import HostBench, wait_for_text
from tests.netns.topology import Topology

pytestmark = pytest.mark.image
VM_ID = "0d3c2f00-0000-4000-8000-000000000001"


@pytest.fixture
def clouds(probe_cache: Path) -> Iterator[list[HostBench]]:
    with Topology() as lab:
        made = [HostBench(lab, probe_cache) for _ in range(2)]
        for bench in made:
            bench.start_libvirt()
            bench.start_agent()
        yield made
    for bench in made:
        bench.close()


def test_the_same_vm_in_both(clouds: list[HostBench]) -> None:
    before = Path("/run/libvirt/libvirt-sock").exists()
    vms = [Vm(bench, uuid=VM_ID) for bench in clouds]
    for vm in vms:
        assert vm.put()["state"] == "running"
    for vm in vms:
        wait_for_text(vm.log, "BOOTED", BOOT_SECONDS)
    first, second = vms
    assert first.qemu() != second.qemu()
    pid = second.qemu()
    assert clouds[0].request("DELETE", f"/v1/domains/{VM_ID}").status_code == 204
    clouds[0].daemons.stop("libvirtd")
    assert second.state() == "running"
    assert second.qemu() == pid
    assert Path("/run/libvirt/libvirt-sock").exists() == before
