"""What is left on a host after a lost answer or a failed undo is taken away; what is nobody's is not."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import msgspec
import pytest

from mgmt.agents.errors import AgentFailed
from mgmt.doctor.examine import examine
from mgmt.drivers.faults import Fault
from mgmt.model.states import VmState
from mgmt.ops import names
from mgmt.ops.endpoints import host_endpoint
from mgmt.ops.runtime import utc_now
from mgmt.ops.saga import StepFailed
from mgmt.reconcile.loop import Reconciler
from mgmt.reconcile.tidy import PAUSE, tidy
from mgmt.store.tables import Host, Vm, Volume
from mgmt.store.tables.base import new_id
from systemvm.spec import host as spec
from tests.unit.mgmt.doctor.scenarios import data_volume, town
from tests.unit.mgmt.small_cloud import SmallCloud, add_host

pytestmark = pytest.mark.unit


def put_file(cloud: SmallCloud, volume_id: str) -> None:
    host = host_endpoint(cloud.row(Host, cloud.host_id))
    cloud.simulator.put_volume(host, spec.Volume(id=volume_id, pool="primary", bytes=1 << 30))


def test_what_was_deleted_goes_and_what_is_unknown_stays(cloud: SmallCloud) -> None:
    deleted, fresh, unknown = data_volume(cloud).id, data_volume(cloud).id, new_id()
    cloud.clock.now = utc_now()
    with cloud.runtime.database.writing() as session:
        session.get_one(Volume, deleted).removed = cloud.clock.now - PAUSE - timedelta(seconds=1)
        session.get_one(Volume, fresh).removed = cloud.clock.now
    for volume_id in deleted, fresh, unknown:
        put_file(cloud, volume_id)
    tidy(cloud.runtime)
    files = cloud.simulator.hosts["172.31.240.1"].volumes
    assert deleted not in files
    assert {fresh, unknown} <= files.keys(), "its job may not be over; nobody of ours made it"


def test_an_expunged_vm_and_its_network_go(cloud: SmallCloud) -> None:
    made = town(cloud)
    host = cloud.simulator.hosts["172.31.240.1"]
    domain, state = host.domains[made.vm.id], host.state
    cloud.run(names.DESTROY_VM, vm_id=made.vm.id, expunge=True)
    cloud.run(names.DELETE_NETWORK, network_id=made.network.id)
    host.state = state
    endpoint = host_endpoint(cloud.row(Host, cloud.host_id))
    cloud.simulator.put_domain(endpoint, domain)
    cloud.clock.now = utc_now() + 2 * PAUSE
    tidy(cloud.runtime)
    assert made.vm.id not in host.domains
    assert host.state is not None
    assert host.state.networks == ()
    assert {volume.domain for volume in cloud.simulator.all_volumes(endpoint)} <= set(host.domains)


def test_a_host_that_does_not_answer_hinders_no_other(cloud: SmallCloud) -> None:
    cloud.simulator.faults.fail("all_volumes", AgentFailed("host1", "no pool"))
    tidy(cloud.runtime)
    assert cloud.simulator.faults.count("all_volumes") == 1


def test_a_guest_whose_undo_failed_is_told_again(cloud: SmallCloud) -> None:
    made = town(cloud)
    volume = data_volume(cloud)
    fault = Fault(call="put_domain", error=AgentFailed("host1", "libvirt is away"), left=None, is_done=True)
    cloud.simulator.faults.plan(fault)
    with pytest.raises(StepFailed, match="libvirt is away"):
        cloud.run(names.ATTACH_VOLUME, vm_id=made.vm.id, volume_id=volume.id)
    host = cloud.simulator.hosts["172.31.240.1"]
    host.domains[made.vm.id] = spec_with(host.domains[made.vm.id], volume.id)
    cloud.simulator.faults.clear()
    loop = Reconciler(cloud.runtime, monotonic=cloud.clock.seconds)
    assert [action.kind.value for action in loop.tick()] == ["push"]
    loop.wait_idle()
    assert volume.id not in [item.id for item in host.domains[made.vm.id].volumes]
    assert cloud.row(Vm, made.vm.id).state == VmState.running
    assert loop.tick() == []


def test_old_copies_of_what_moved_go_once_the_new_host_has_it(cloud: SmallCloud) -> None:
    vm_id = town(cloud).vm.id
    add_host(cloud)
    lost = Fault(call="delete_domain", error=AgentFailed("host1", "lost"), place=cloud.host_id, left=None)
    cloud.simulator.faults.plan(lost)
    with pytest.raises(StepFailed, match="lost"):
        cloud.run(names.MIGRATE_VM, vm_id=vm_id)
    root = next(row for row in cloud.rows(Volume) if row.vm_id == vm_id)
    old, new = (cloud.simulator.hosts[f"172.31.240.{number}"] for number in (1, 2))
    assert findings(cloud) == {
        (root.id, "has an old copy in pool primary of host host1: it is in primary of host2")
    }
    tidy(cloud.runtime)
    assert vm_id in old.domains, "the host does not listen"
    cloud.simulator.faults.clear()
    file = new.volumes.pop(root.id)
    tidy(cloud.runtime)
    assert root.id in old.volumes, "nobody else has it"
    new.volumes[root.id] = msgspec.structs.replace(file, pool="shared")
    tidy(cloud.runtime)
    assert root.id in old.volumes, "the other pool's file may be this one"
    new.volumes[root.id] = file
    with cloud.runtime.locks.hold(f"job:{vm_id}"), ThreadPoolExecutor(1) as another:
        another.submit(tidy, cloud.runtime).result()
    assert root.id in old.volumes, "a job is about it"
    tidy(cloud.runtime)
    assert vm_id not in old.domains
    assert root.id not in old.volumes
    assert new.status[vm_id].state == "running"
    assert findings(cloud) == set()


def findings(cloud: SmallCloud) -> set[tuple[str, str]]:
    """Of all but accounts: rows that came by the back door are uncounted."""
    found = examine(cloud.runtime)
    return {(finding.id, finding.problem) for finding in found if finding.kind != "account"}


def spec_with(domain: spec.Domain, volume_id: str) -> spec.Domain:
    """A domain that has one more volume than its rows say."""
    more = spec.Volume(id=volume_id, pool="primary", bytes=1 << 30)
    return msgspec.structs.replace(domain, volumes=(*domain.volumes, more))
