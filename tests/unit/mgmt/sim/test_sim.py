"""A simulated cloud is what jobs would have left: the doctor finds nothing, and its VMs stop and start."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from mgmt.alloc.counted import correct_domain
from mgmt.api.testing import open_api
from mgmt.doctor.examine import examine
from mgmt.drivers.simulator import Simulator
from mgmt.model.states import VmKind, VmState
from mgmt.ops import names
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga, run_directly
from mgmt.ops.workflows import run
from mgmt.pki.authority import Authority
from mgmt.sim.__main__ import MARK, prepare_home
from mgmt.sim.cloud import make_cloud
from mgmt.sim.memory import fill_memory
from mgmt.sim.plan import Plan, WrongSize
from mgmt.store.tables import Domain, Host, Network, ResourceCount, Vm, Volume

pytestmark = pytest.mark.unit
PLAN = Plan(hosts=7, vms=220, networks=5, accounts=4, data_disks=30)


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """A simulated cloud, filled into a simulator that has never heard of it, as after a start."""
    folder = tmp_path_factory.mktemp("sim")
    with open_api(folder) as api:
        context = api.context
        authority = Authority(context.config.pki_dir)
        first = Runtime(
            database=context.database,
            seal=context.seal,
            authority=authority,
            drivers={"simulator": Simulator()},
        )
        make_cloud(first, PLAN)
        again = Runtime(
            database=context.database,
            seal=context.seal,
            authority=authority,
            drivers={"simulator": Simulator()},
        )
        fill_memory(again)
        yield again


def test_the_doctor_finds_nothing_and_all_is_there(runtime: Runtime) -> None:
    assert examine(runtime) == []
    with runtime.database.reading() as session:
        counted = {table: session.scalar(select(func.count(table.id))) for table in (Host, Network)}
        grouped = session.execute(select(Vm.kind, func.count()).group_by(Vm.kind))
        kinds = {kind: number for kind, number in grouped}
        running = session.scalar(select(func.count()).where(Vm.state == VmState.running, Vm.kind == "user"))
        data = session.scalar(select(func.count()).where(Volume.offering_id.is_not(None)))
    assert counted == {Host: 7, Network: 5}
    assert kinds == {VmKind.user: 220, VmKind.router: 3, VmKind.console: 1, VmKind.storage: 1}
    assert (running, data) == (198, 30)


def test_domains_are_counted_as_a_recount_counts_them(runtime: Runtime) -> None:
    with runtime.database.writing() as session:
        query = select(ResourceCount.owner_id, ResourceCount.type, ResourceCount.used)
        before = {tuple(row) for row in session.execute(query) if row[2]}
        correct_domain(session, session.scalars(select(Domain).where(Domain.path == "/")).one())
        session.expire_all()
        assert {tuple(row) for row in session.execute(query) if row[2]} == before
        session.rollback()


def test_its_vms_stop_start_and_go(runtime: Runtime) -> None:
    with runtime.database.reading() as session:
        vm_id = session.scalars(select(Vm.id).where(Vm.name == "vm1")).one()
    for workflow, more in (
        (names.STOP_VM, {}),
        (names.START_VM, {}),
        (names.DESTROY_VM, {"expunge": True}),
    ):
        run(runtime, Saga(run_directly), workflow, {"vm_id": vm_id, **more})
    assert [finding for finding in examine(runtime) if finding.kind != "account"] == []


@pytest.mark.parametrize(("hosts", "vms", "words"), [(0, 1, "hosts=0"), (2, 81, "2 hosts have room for 80")])
def test_wrong_sizes_say_what_fits(hosts: int, vms: int, words: str) -> None:
    with pytest.raises(WrongSize, match=words):
        Plan(hosts=hosts, vms=vms).check()


def test_a_folder_of_somebody_else_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    with pytest.raises(FileExistsError, match="holds something else"):
        prepare_home(tmp_path, Plan(hosts=1, vms=0), 8080)
    assert (tmp_path / "precious").exists()
    assert not (tmp_path / MARK).exists()
