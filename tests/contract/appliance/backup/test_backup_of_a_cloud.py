"""A cloud is backed up while it works, changed, and restored: as it was, and well."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text, update

from appliance.backup.backup import make_backup
from appliance.backup.manifest import BackupRefused
from appliance.backup.restore import restore
from mgmt.bootstrap import Occupied
from mgmt.doctor.examine import examine
from mgmt.model.states import JobStatus, VmState
from mgmt.ops import names
from mgmt.store.passwords import hash_password
from mgmt.store.tables import Job, User, Vm
from tests.contract.mgmt.held_cloud import TAKEN_OVER, HeldCloud, held_cloud
from tests.mgmt_server import ManagementServer, eventually, run_server
from tests.postgres import postgres
from tests.unit.mgmt.small_cloud import SmallCloud

pytestmark = pytest.mark.contract
OLD, NEW = "the old password", "the new password"


@pytest.fixture(params=["sqlite", "postgresql"])
def held(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[HeldCloud]:
    folder = tmp_path / "home" / "mgmt"
    folder.mkdir(parents=True)
    with (
        postgres() if request.param == "postgresql" else nullcontext("") as url,
        held_cloud(folder, url) as made,
    ):
        made.cloud.run(names.STOP_VM, vm_id=made.vm.id)
        set_password(made, OLD)
        yield made


def set_password(held: HeldCloud, password: str) -> None:
    with held.cloud.runtime.database.writing() as session:
        admin = User.id == held.cloud.user_id
        session.execute(update(User).where(admin).values(password=hash_password(password)))


def log_in(server: ManagementServer, password: str) -> int:
    form = {"command": "login", "username": "admin", "password": password, "response": "json"}
    return httpx.post(server.endpoint, data=form, trust_env=False, timeout=30).status_code


def analyzed(cloud: SmallCloud) -> bool:
    """Whether PostgreSQL has statistics of a table."""
    query = text("select count(*) from pg_stats where tablename = 'vm'")
    with cloud.runtime.database.reading() as session:
        return session.scalar(query) != 0


def test_what_was_backed_up_comes_back(held: HeldCloud, tmp_path: Path) -> None:
    home, file, cloud = tmp_path / "home", tmp_path / "backup.tar.gz", held.cloud
    with run_server(home, **held.settings) as server:
        job_id = held.start_and_hold(server)
        make_backup(home, file)
        assert cloud.row(Job, job_id).status == JobStatus.pending, "it ran when the backup was made"
        held.gate.opened.set()
        assert held.ended(job_id).status == JobStatus.succeeded
        held.api(server).updateVirtualMachine(id=held.vm.id, displayname="changed")
        set_password(held, NEW)
        assert (log_in(server, OLD), log_in(server, NEW)) == (531, 200)
        with pytest.raises((Occupied, BackupRefused), match="stop"):
            restore(home, file, force=True)
    with pytest.raises(BackupRefused, match="--force replaces it"):
        restore(home, file)
    cloud.runtime.database.close()
    done = restore(home, file, force=True)
    assert all(path.exists() for path in done.kept)
    assert cloud.row(Job, job_id).status == JobStatus.pending
    assert cloud.runtime.database.engine.name == "sqlite" or analyzed(cloud)
    with run_server(home, **held.settings) as server:
        assert (log_in(server, OLD), log_in(server, NEW)) == (200, 531)
        assert (held.ended(job_id).status, cloud.row(Job, job_id).error_text) == (JobStatus.succeeded, None)
        vm = cloud.row(Vm, held.vm.id)
        assert (vm.state, vm.display_name) == (VmState.running, held.vm.display_name)
        eventually(lambda: not examine(cloud.runtime), TAKEN_OVER)
