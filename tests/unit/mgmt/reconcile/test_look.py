"""What the loop asks the database before it acts."""

import pytest

from mgmt.api.testing import counted_statements
from mgmt.model.states import JobStatus, VmState
from mgmt.ops.compute.states import set_vm
from mgmt.reconcile.look import is_busy, look_at_host
from mgmt.store.tables import Job
from tests.unit.mgmt.small_cloud import SmallCloud

pytestmark = pytest.mark.unit


def job(cloud: SmallCloud, subject: str | None, status: JobStatus = JobStatus.pending) -> Job:
    """A job about something."""
    owner = {"user_id": cloud.user_id, "account_id": cloud.account_id, "domain_id": cloud.domain_id}
    return Job(command="c", workflow="w", instance_id=subject, status=status, **owner)  # type: ignore[arg-type]


@pytest.mark.parametrize("others", [0, 20])
def test_whether_something_is_busy_is_one_short_question(bare_cloud: SmallCloud, others: int) -> None:
    """However many jobs there are about other things, or that are over."""
    cloud = bare_cloud

    cloud.add(job(cloud, "vm"), job(cloud, "over", JobStatus.succeeded), job(cloud, None))
    cloud.add(*(job(cloud, f"other {number}") for number in range(others)), job(cloud, "last"))
    asked = {("vm",): True, ("idle", "vm"): True, ("over", None): False, ("idle", "none"): False}
    with (
        counted_statements(cloud.runtime.database) as statements,
        cloud.runtime.database.reading() as session,
    ):
        found = {subjects: is_busy(session, *subjects) for subjects in asked}
    assert found == asked
    selects = [text for text in statements if text.startswith("SELECT")]
    assert len(selects) == len(asked)
    assert all("IN (" in text and "LIMIT" in text for text in selects)


@pytest.mark.parametrize("state", [VmState.running, VmState.migrating])
def test_who_looks_at_one_host_sees_the_jobs_about_it_and_its_vms(
    bare_cloud: SmallCloud, state: VmState
) -> None:
    """A VM that is Migrating is busy too while a job is about its host, which is being emptied."""
    cloud = bare_cloud
    busy, idle = (cloud.new_vm(cloud.new_network(name), name) for name in ("busy", "idle"))
    for vm in busy, idle:
        set_vm(cloud.runtime, vm.id, host_id=cloud.host_id, state=state)
    cloud.add(job(cloud, busy.id), job(cloud, "something else"), job(cloud, idle.id, JobStatus.succeeded))

    def seen() -> dict[str, bool]:
        return {vm.id: vm.is_busy for vm in look_at_host(cloud.runtime, cloud.host_id, {}, {}).vms}

    assert seen() == {busy.id: True, idle.id: False}
    cloud.add(job(cloud, cloud.host_id))
    assert seen() == {busy.id: True, idle.id: state == VmState.migrating}
