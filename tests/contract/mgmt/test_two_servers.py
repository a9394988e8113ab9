"""Two management servers on one PostgreSQL: both work, and one does all of it when the other is killed."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import text

from mgmt.model.states import JobStatus, VmState
from mgmt.store.servers import server_id
from mgmt.store.tables import Event, Vm
from tests.contract.mgmt.held_cloud import TAKEN_OVER, HeldCloud, held_cloud
from tests.mgmt_server import ManagementServer as Server
from tests.mgmt_server import eventually, run_server
from tests.postgres import postgres

pytestmark = pytest.mark.contract


@dataclass
class Pair(HeldCloud):
    """The two servers that manage a cloud."""

    first: Server
    second: Server

    def who_runs(self, job_id: str) -> Server:
        """The server that has taken a job."""
        query = text(
            "select m.id from dbos.workflow_status w join management_server m"
            " on m.incarnation = w.executor_id where w.workflow_uuid = :job"
        )
        with self.cloud.runtime.database.reading() as session:
            found = session.scalars(query, {"job": job_id}).one()
        return next(server for server in (self.first, self.second) if server_id(server.port) == found)

    def other(self, server: Server) -> Server:
        return self.second if server is self.first else self.first

    def states(self, told_by: Server) -> dict[str, str]:
        """State by id."""
        listed = self.api(told_by).listManagementServers()["managementserver"]
        return {server["id"]: server["state"] for server in listed}

    def stop_under_way(self, number: int) -> tuple[Server, str]:
        """Start the VM, send its server a signal while the host makes the VM; that server, and the job."""
        job_id = self.start_and_hold(self.first)
        server = self.who_runs(job_id)
        server.signal(number)
        return server, job_id


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    homes = tmp_path / "one", tmp_path / "two"
    with (
        postgres() as url,
        held_cloud(tmp_path, url) as held,
        run_server(homes[0], **held.settings) as first,
        run_server(homes[1], **held.settings) as second,
    ):
        yield Pair(**vars(held), first=first, second=second)
        held.gate.opened.set()


def test_both_work_and_one_lives_on(pair: Pair) -> None:
    assert pair.states(pair.first) == {server_id(server.port): "Up" for server in (pair.first, pair.second)}
    workers = []
    while len({server.port for server in workers}) < 2:  # who looks first takes it: by turns, nearly
        server = (pair.first, pair.second)[len(workers) % 2]
        job_id = pair.start(server, "rebootVirtualMachine")
        assert pair.ended(job_id).status == JobStatus.succeeded
        workers.append(pair.who_runs(job_id))
        assert len(workers) < 100, "one server does all the work"

    assert pair.ended(pair.start(pair.first, "stopVirtualMachine")).status == JobStatus.succeeded
    killed, job_id = pair.stop_under_way(signal.SIGKILL)
    pair.gate.opened.set()
    job = pair.ended(job_id)
    assert (job.status, job.error_text) == (JobStatus.succeeded, None)
    left = pair.other(killed)
    assert pair.who_runs(job_id) is left
    assert pair.cloud.row(Vm, pair.vm.id).state == VmState.running
    assert pair.states(left) == {server_id(killed.port): "Down", server_id(left.port): "Up"}
    events = [
        row for row in pair.cloud.rows(Event) if row.resource_id == pair.vm.id and row.type == "VM.START"
    ]
    assert sorted(event.state for event in events) == ["Completed", "Scheduled", "Started"]

    def warned() -> bool:
        alerts = pair.api(left).listAlerts().get("alert", [])
        return any(alert["name"] == "ALERT.MANAGEMENT" for alert in alerts)

    eventually(warned, TAKEN_OVER)


def test_a_server_that_was_only_slow_changes_nothing_more(pair: Pair) -> None:
    assert pair.ended(pair.start(pair.first, "stopVirtualMachine")).status == JobStatus.succeeded
    slow, job_id = pair.stop_under_way(signal.SIGSTOP)
    left = pair.other(slow)
    assert pair.ended(job_id).status == JobStatus.succeeded
    assert pair.who_runs(job_id) is left
    pair.start(left, "stopVirtualMachine")
    eventually(lambda: pair.cloud.row(Vm, pair.vm.id).state == VmState.stopped, TAKEN_OVER)
    slow.signal(signal.SIGCONT)
    eventually(lambda: "ends itself and starts anew" in slow.log.read_text(), TAKEN_OVER)
    eventually(lambda: set(pair.states(left).values()) == {"Up"}, TAKEN_OVER)
    assert pair.cloud.row(Vm, pair.vm.id).state == VmState.stopped
