"""What a deploy costs, in counts: of records, transactions and documents. Times are the bench's."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dbos import DBOS
from sqlalchemy import event

from mgmt.jobs.durable import DurableJobs
from mgmt.jobs.protocol import new_job
from mgmt.model.states import VmState
from mgmt.ops import names
from mgmt.store.database import Database
from mgmt.store.tables import Host, Network, User, Vm
from tests.unit.mgmt.small_cloud import SmallCloud

pytestmark = pytest.mark.unit


@pytest.fixture
def network(cloud: SmallCloud) -> Network:
    """A network that works already."""
    made = cloud.new_network()
    cloud.run(names.DEPLOY_VM, vm_id=cloud.new_vm(made, "first").id)
    return made


@contextmanager
def transactions(database: Database) -> Iterator[list[str]]:
    """The write transactions that begin in a database."""
    begun: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement == "BEGIN IMMEDIATE":
            begun.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    yield begun
    event.remove(database.engine, "before_cursor_execute", note)


def test_vms_that_are_there_at_once_are_one_document_of_the_router_and_none_of_the_host(
    cloud: SmallCloud, network: Network
) -> None:
    vms = [cloud.new_vm(network, f"web{number}") for number in range(10)]
    generation = cloud.row(Host, cloud.host_id).generation
    before = Counter(cloud.simulator.faults.counts())
    for vm in vms:
        cloud.run(names.DEPLOY_VM, vm_id=vm.id)
    calls = Counter(cloud.simulator.faults.counts()) - before
    assert calls == {"machine.put_state": 1, "put_domain": len(vms)}
    assert cloud.row(Host, cloud.host_id).generation == generation
    assert len(cloud.document(cloud.router(network).id).dnsmasq.hosts) == len(vms) + 1


def test_a_deploy_is_one_record_and_few_transactions(
    cloud: SmallCloud, network: Network, tmp_path: Path
) -> None:
    vm = cloud.new_vm(network)
    with cloud.runtime.database.writing() as session:
        user, about = session.get_one(User, cloud.user_id), {"instance_id": vm.id}
        job = new_job(
            session,
            names.DEPLOY_VM,
            {"vm_id": vm.id},
            command="deployVirtualMachine",
            user=user,
            domain_id=cloud.domain_id,
            event_type="VM.CREATE",
            **about,
        )
    jobs = DurableJobs(cloud.runtime, f"sqlite:///{tmp_path / 'jobs.db'}")
    jobs.launch()
    try:
        with transactions(cloud.runtime.database) as begun:
            jobs.start(job.id)
            DBOS.retrieve_workflow(job.id).get_result(polling_interval_sec=0.05)
        steps = [step["function_name"] for step in DBOS.list_workflow_steps(job.id)]
    finally:
        jobs.close(seconds=10)
    assert cloud.row(Vm, vm.id).state == VmState.running
    assert steps == ["choose a host, and start the VM there"]
    # Begin, host, what the router has applied, the VM runs, end; a slow machine may note a step besides.
    assert len(begun) <= 6
