"""Counts of resources: whatever happens to VMs, disks, networks and addresses, a recount gives the same."""

import random
import threading
from typing import Any

import pytest
from sqlalchemy import update

from mgmt.agents.errors import AgentFailed
from mgmt.alloc.counted import correct_account, correct_domain
from mgmt.api.call import Context
from mgmt.jobs.recorded import RecordedJobs
from mgmt.model.errors import CloudError, LimitReached
from mgmt.model.resources import ResourceType
from mgmt.store.defaults import GIB
from mgmt.store.tables import (
    Account,
    DiskOffering,
    Domain,
    Network,
    PublicAddress,
    ResourceCount,
    ServiceOffering,
    Vm,
    Volume,
)
from tests.unit.mgmt.tenant import Tenant

pytestmark = pytest.mark.unit


def test_twenty_deploys_at_once_against_a_limit_of_five(tenant: Tenant) -> None:
    network_id = tenant.network()
    tenant.limit(ResourceType.user_vm, 5)
    jobs = RecordedJobs()
    tenant.context = Context(tenant.context.database, tenant.context.seal, jobs, tenant.context.config)
    outcomes: list[str] = []
    barrier = threading.Barrier(20)

    def deploy() -> None:
        barrier.wait()
        try:
            tenant.deploy(network_id)
            outcomes.append("deployed")
        except LimitReached as error:
            outcomes.append(error.text.partition(" and ")[0])

    threads = [threading.Thread(target=deploy) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = "Account bob may have 5 of resource user_vm, has 5"
    assert sorted(outcomes) == [refused] * 15 + ["deployed"] * 5
    assert len(tenant.mine(Vm)) == len(jobs.started) == tenant.counted()[0][ResourceType.user_vm] == 5
    assert tenant.counted() == [tenant.real()] * 2


def test_a_vm_counts_with_all_it_takes_until_it_is_destroyed(tenant: Tenant) -> None:
    custom = tenant.id_of(DiskOffering, "Custom")
    made = tenant.deploy(tenant.network(), diskofferingid=custom, size=3)
    kinds = ResourceType
    now = tenant.counted()[0]
    assert {kind.name: used for kind, used in now.items() if used} == {
        "user_vm": 1,
        "public_ip": 1,  # source NAT
        "volume": 2,
        "network": 1,
        "cpu": 1,
        "memory": 128,
        "primary_storage": 64 * 1024**2 + 3 * GIB,
    }
    tenant.call("destroyVirtualMachine", id=made["id"])
    after = tenant.counted()[0]
    assert [after[kind] for kind in (kinds.user_vm, kinds.cpu, kinds.memory, kinds.volume)] == [0, 0, 0, 2]
    tenant.limit(kinds.memory, 127)
    with pytest.raises(LimitReached, match="127 MiB of resource memory, has 0 MiB and asks for 128 MiB"):
        tenant.call("recoverVirtualMachine", id=made["id"])
    tenant.limit(kinds.memory, 128)
    tenant.call("recoverVirtualMachine", id=made["id"])
    assert tenant.counted()[0] == now


def test_a_deploy_that_fails_counts_nothing_but_its_disks(tenant: Tenant) -> None:
    network_id = tenant.network()
    tenant.limit(ResourceType.public_ip, 0)  # the network's own address is one too many
    made = tenant.deploy(network_id)
    assert tenant.cloud.row(Vm, made["id"]).state == "Error"
    assert tenant.counted()[0][ResourceType.user_vm] == 0
    assert tenant.counted() == [tenant.real()] * 2


class Day:
    """Random operations of one tenant; what cannot be done now is refused, which is part of the day."""

    def __init__(self, tenant: Tenant, seed: int) -> None:
        self.tenant = tenant
        self.random = random.Random(seed)  # noqa: S311 (a test that can be repeated)
        self.actions = (
            self.deploy,
            self.deploy,
            self.fail_to_deploy,
            self.destroy,
            self.recover,
            self.expunge,
            self.resize,
            self.restore,
            self.create_volume,
            self.delete_volume,
            self.create_network,
            self.delete_network,
            self.associate,
            self.disassociate,
        )

    def step(self) -> str:
        action = self.random.choice(self.actions)
        try:
            action()
        except CloudError as error:
            return f"{action.__name__}: {error.text}"
        return action.__name__

    def pick(self, table: Any) -> Any:
        """One of the tenant's rows; any of them, so that wrong states are tried too."""
        rows = self.tenant.mine(table)
        if not rows:
            raise CloudError("there is none")
        return self.random.choice(rows)

    def deploy(self) -> None:
        disk = self.random.choice([None, self.tenant.id_of(DiskOffering, "Small")])
        self.tenant.deploy(self.pick(Network).id, diskofferingid=disk)

    def fail_to_deploy(self) -> None:
        self.tenant.cloud.simulator.faults.fail("put_domain", AgentFailed("host1", "disk full"))
        self.deploy()

    def destroy(self) -> None:
        expunge = self.random.random() < 0.3
        self.tenant.call("destroyVirtualMachine", id=self.pick(Vm).id, expunge=expunge)

    def recover(self) -> None:
        self.tenant.call("recoverVirtualMachine", id=self.pick(Vm).id)

    def expunge(self) -> None:
        vm = self.pick(Vm)
        if vm.state in ("Destroyed", "Error"):
            self.tenant.cloud.run("expunge_vm", vm_id=vm.id)

    def resize(self) -> None:
        vm = self.pick(Vm)
        if vm.state == "Running":
            self.tenant.call("stopVirtualMachine", id=vm.id)
        name = self.random.choice(["Tiny Instance", "Large Instance"])
        offering = self.tenant.id_of(ServiceOffering, name)
        self.tenant.call("changeServiceForVirtualMachine", id=vm.id, serviceofferingid=offering)

    def restore(self) -> None:
        more = self.random.choice([None, 1])
        self.tenant.call("restoreVirtualMachine", virtualmachineid=self.pick(Vm).id, rootdisksize=more)

    def create_volume(self) -> None:
        offering = self.tenant.id_of(DiskOffering, "Small")
        self.tenant.call("createVolume", name="d", diskofferingid=offering, zoneid=self.tenant.cloud.zone_id)

    def delete_volume(self) -> None:
        self.tenant.call("deleteVolume", id=self.pick(Volume).id)

    def create_network(self) -> None:
        self.tenant.network()

    def delete_network(self) -> None:
        self.tenant.call("deleteNetwork", id=self.pick(Network).id)

    def associate(self) -> None:
        self.tenant.call("associateIpAddress", networkid=self.pick(Network).id)

    def disassociate(self) -> None:
        self.tenant.call("disassociateIpAddress", id=self.pick(PublicAddress).id)


@pytest.mark.parametrize("seed", range(3))
def test_after_any_operations_a_recount_gives_the_same(tenant: Tenant, seed: int) -> None:
    tenant.limit(ResourceType.user_vm, 4)
    tenant.limit(ResourceType.public_ip, 5)
    tenant.limit(ResourceType.primary_storage, 30)
    day = Day(tenant, seed)
    done = [day.step() for _ in range(6)]
    tenant.network()
    for _ in range(50):
        done.append(day.step())
        assert tenant.counted() == [tenant.real()] * 2, done
    assert any(tenant.real().values()), done


def test_wrong_counts_are_corrected_from_the_rows(tenant: Tenant) -> None:
    tenant.network()
    with tenant.cloud.runtime.database.writing() as session:
        session.execute(update(ResourceCount).values(used=7))
    assert tenant.counted()[0][ResourceType.network] == 7
    with tenant.cloud.runtime.database.writing() as session:
        correct_account(session, session.get_one(Account, tenant.caller.account.id))
    assert tenant.counted()[0] == tenant.real() != tenant.counted()[1]
    with tenant.cloud.runtime.database.writing() as session:
        correct_domain(session, session.get_one(Domain, tenant.caller.domain.id))
    assert tenant.counted() == [tenant.real()] * 2
    assert tenant.real()[ResourceType.network] == 1
