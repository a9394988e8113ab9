"""A VM that ends on its host: the host tells, and the state follows without the next round of the loop."""

import time
from collections.abc import Iterator

import pytest

from mgmt.model.states import VmState
from mgmt.ops import names
from mgmt.reconcile.loop import Reconciler
from mgmt.store.tables import Event, Vm
from tests.unit.mgmt.small_cloud import SmallCloud

pytestmark = pytest.mark.unit
#: The promise is that the state follows within ten seconds.
PROMISE = 10.0


@pytest.fixture
def loop(cloud: SmallCloud) -> Iterator[Reconciler]:
    """It looks once, and then not again for an hour."""
    loop = Reconciler(cloud.runtime, period=3600.0)
    loop.start()
    yield loop
    loop.stop()


def until(question: str, cloud: SmallCloud, vm: Vm, state: VmState) -> None:
    deadline = time.monotonic() + PROMISE
    while cloud.row(Vm, vm.id).state != state:
        assert time.monotonic() < deadline, question
        time.sleep(0.02)


@pytest.fixture
def vm(cloud: SmallCloud) -> Vm:
    made = cloud.new_vm(cloud.new_network())
    cloud.run(names.DEPLOY_VM, vm_id=made.id)
    return made


def heard(cloud: SmallCloud) -> None:
    """Until somebody waits for the host; what ended before, the first round has found."""
    deadline = time.monotonic() + PROMISE
    while not cloud.simulator.listeners:
        assert time.monotonic() < deadline, "somebody waits for the host"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("state", "words"),
    [("crashed", "crashed (killed by signal 9)"), ("stopped", "was powered off (killed by signal 9)")],
)
def test_the_state_follows_at_once(
    cloud: SmallCloud, vm: Vm, loop: Reconciler, state: str, words: str
) -> None:
    heard(cloud)
    cloud.simulator.kill(vm.id, "killed by signal 9", state)
    until("it is Stopped", cloud, vm, VmState.stopped)
    loop.wait_idle()
    row = cloud.row(Vm, vm.id)
    assert (row.reason, row.host_id) == (f"VM {vm.name} {words}", None)
    (event,) = (each for each in cloud.rows(Event) if each.resource_id == vm.id and each.level == "WARN")
    assert event.description == row.reason
