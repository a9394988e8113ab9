"""What the loop asks the database before it acts."""

import pytest

from mgmt.api.testing import counted_statements
from mgmt.model.states import JobStatus
from mgmt.reconcile.look import is_busy
from mgmt.store.tables import Job
from tests.unit.mgmt.small_cloud import SmallCloud

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("others", [0, 20])
def test_whether_something_is_busy_is_one_short_question(bare_cloud: SmallCloud, others: int) -> None:
    """However many jobs there are about other things, or that are over."""
    cloud = bare_cloud

    def job(subject: str | None, status: JobStatus = JobStatus.pending) -> Job:
        owner = {"user_id": cloud.user_id, "account_id": cloud.account_id, "domain_id": cloud.domain_id}
        return Job(command="c", workflow="w", instance_id=subject, status=status, **owner)  # type: ignore[arg-type]

    cloud.add(job("vm"), job("over", JobStatus.succeeded), job(None))
    cloud.add(*(job(f"other {number}") for number in range(others)), job("last"))
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
