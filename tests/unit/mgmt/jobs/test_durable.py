"""Jobs: rows, steps, results, order; each test has a workflow engine of its own."""

import base64
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from uuid import UUID, uuid5

import pytest
from sqlalchemy import MetaData, create_engine, inspect, select

from mgmt.agents.errors import AgentFailed
from mgmt.jobs.durable import DurableJobs
from mgmt.jobs.protocol import Arguments, new_job
from mgmt.model.states import JobStatus, VmState
from mgmt.ops import names
from mgmt.ops.compute.passwords import reveal_password
from mgmt.runtime import records_url
from mgmt.store.tables import Event, Job, User, Vm
from tests.unit.mgmt.small_cloud import SmallCloud

pytestmark = pytest.mark.unit


@pytest.fixture
def jobs(cloud: SmallCloud) -> Iterator[DurableJobs]:
    jobs = DurableJobs(cloud.runtime, records_url(url_of(cloud)))
    jobs.launch()
    yield jobs
    jobs.close(seconds=10)


def submit(cloud: SmallCloud, workflow: str, arguments: Arguments, about: str | None = None) -> str:
    with cloud.runtime.database.writing() as session:
        user = session.get_one(User, cloud.user_id)
        job = new_job(
            session,
            workflow,
            arguments,
            command="deployVirtualMachine",
            user=user,
            domain_id=cloud.domain_id,
            event_type="VM.CREATE",
            instance_type="VirtualMachine",
            instance_id=about,
        )
        return job.id


def wait_until(is_so: Callable[[], bool], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until, f"not within {seconds} s"
        time.sleep(0.05)


def finished(cloud: SmallCloud, job_id: str, seconds: float = 30) -> Job:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        job: Job = cloud.row(Job, job_id)
        if job.status != JobStatus.pending:
            return job
        time.sleep(0.05)
    raise AssertionError(f"job {job_id} is still at {cloud.row(Job, job_id).step!r}")


def test_a_job_runs_once_and_leaves_an_event(cloud: SmallCloud, jobs: DurableJobs) -> None:
    vm = cloud.new_vm(cloud.new_network())
    job_id = submit(cloud, names.DEPLOY_VM, {"vm_id": vm.id}, vm.id)
    jobs.start(job_id)
    jobs.start(job_id)
    job = finished(cloud, job_id)
    assert (job.status, job.error_text) == (JobStatus.succeeded, None)
    assert job.step == "start the VM on host host1"
    assert cloud.row(Vm, vm.id).state == VmState.running
    jobs.start(job_id)
    with cloud.runtime.database.reading() as session:
        events = session.scalars(select(Event).where(Event.resource_id == vm.id)).all()
    assert sorted((event.type, event.level, event.state) for event in events) == [
        ("VM.CREATE", "INFO", "Completed"),
        ("VM.CREATE", "INFO", "Started"),
    ]


def test_a_failed_job_names_step_and_reason(cloud: SmallCloud, jobs: DurableJobs) -> None:
    vm = cloud.new_vm(cloud.new_network())
    refusal = AgentFailed("host host1", "making volume: disk full")
    cloud.simulator.faults.fail("put_volume", refusal)
    cloud.run(names.DEPLOY_VM, vm_id=vm.id)
    cloud.simulator.faults.fail("put_domain", refusal)
    job_id = submit(cloud, names.REBOOT_VM, {"vm_id": vm.id}, vm.id)
    jobs.start(job_id)
    job = finished(cloud, job_id)
    assert (job.status, job.error_code) == (JobStatus.failed, 530)
    assert job.error_text == "reboot the VM: host host1: making volume: disk full"
    assert cloud.row(Vm, vm.id).reason == job.error_text


def test_an_unexpected_error_fails_the_job_and_not_the_server(cloud: SmallCloud, jobs: DurableJobs) -> None:
    job_id = submit(cloud, names.REBOOT_VM, {"vm_id": "no-such-vm"})
    jobs.start(job_id)
    job = finished(cloud, job_id)
    assert job.status == JobStatus.failed
    assert job.error_text is not None
    assert job.error_text.startswith("count the reboot: NoResultFound")
    unknown = submit(cloud, "no_such_workflow", {})
    jobs.start(unknown)
    assert finished(cloud, unknown).error_text == "start: there is no workflow 'no_such_workflow'"


def test_jobs_about_one_vm_run_one_after_the_other(cloud: SmallCloud, jobs: DurableJobs) -> None:
    vm = cloud.new_vm(cloud.new_network())
    steps = [(names.DEPLOY_VM, {}), (names.STOP_VM, {}), (names.START_VM, {}), (names.REBOOT_VM, {})]
    job_ids = [submit(cloud, name, {"vm_id": vm.id, **more}, vm.id) for name, more in steps]
    for job_id in job_ids:
        jobs.start(job_id)
    assert [finished(cloud, job_id).status for job_id in job_ids] == [JobStatus.succeeded] * 4
    assert cloud.row(Vm, vm.id).reboots == 1


def test_their_order_is_neither_that_of_clocks_nor_that_of_threads(
    cloud: SmallCloud, jobs: DurableJobs
) -> None:
    """As after a restart with a clock that went back, or with a server that hands over late."""
    vm = cloud.new_vm(cloud.new_network())
    about = {"vm_id": vm.id}
    workflows = (names.DEPLOY_VM, names.STOP_VM, names.START_VM, names.STOP_VM)
    first, *others = [submit(cloud, workflow, about, vm.id) for workflow in workflows]
    with cloud.runtime.database.writing() as session:
        for hours, job_id in enumerate(others, 1):
            session.get_one(Job, job_id).created -= timedelta(hours=hours)
    with cloud.runtime.locks.hold(f"job:{vm.id}"):
        jobs.start(first)
        wait_until(lambda: cloud.row(Job, first).handed_over)
        for job_id in reversed(others):
            jobs.start(job_id)
    ended = [finished(cloud, job_id) for job_id in (first, *others)]
    assert [job.error_text for job in ended] == [None] * 4
    with cloud.runtime.database.reading() as session:
        starts = session.scalars(
            select(Event.id).where(Event.state == "Started").order_by(Event.created)
        ).all()
    assert list(starts) == [str(uuid5(UUID(job_id), "Started")) for job_id in (first, *others)]


def test_a_job_that_nobody_started_is_found(cloud: SmallCloud, jobs: DurableJobs) -> None:
    vm = cloud.new_vm(cloud.new_network())
    job_id = submit(cloud, names.DEPLOY_VM, {"vm_id": vm.id}, vm.id)
    jobs.sweep()
    assert finished(cloud, job_id).status == JobStatus.succeeded


def test_arguments_and_records_hold_no_password(cloud: SmallCloud, jobs: DurableJobs) -> None:
    vm = cloud.new_vm(cloud.new_network())
    job_id = submit(cloud, names.DEPLOY_VM, {"vm_id": vm.id}, vm.id)
    jobs.start(job_id)
    finished(cloud, job_id)
    password = reveal_password(cloud.row(Vm, vm.id), cloud.runtime.seal)
    assert password
    stored = "".join(text_of(url) for url in {url_of(cloud), records_url(url_of(cloud))})
    assert vm.id in stored
    assert password not in stored
    assert base64.b64encode(password.encode()).decode()[:-4] not in stored


def url_of(cloud: SmallCloud) -> str:
    return cloud.runtime.database.engine.url.render_as_string(hide_password=False)


def text_of(url: str) -> str:
    """All values in all tables of a database."""
    engine, found = create_engine(url), []
    with engine.connect() as connection:
        for schema in inspect(connection).get_schema_names():
            if schema in ("information_schema", "pg_catalog"):
                continue
            tables = MetaData(schema=schema)
            tables.reflect(connection)
            found += [
                str(tuple(row))
                for table in tables.sorted_tables
                for row in connection.execute(table.select())
            ]
    engine.dispose()
    return "".join(found)
