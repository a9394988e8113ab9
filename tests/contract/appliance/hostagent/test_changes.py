"""libvirt tells that a VM ended, and who waits for it hears it: with libvirt's own driver for tests."""

import threading
import time

import pytest

from appliance.hostagent.hypervisor import Hypervisor

pytestmark = pytest.mark.contract

PATIENCE = 30.0


@pytest.fixture
def hypervisor() -> Hypervisor:
    """It has one running VM, `test`."""
    made = Hypervisor("test:///default")
    made.connection()
    return made


def test_who_ends_a_vm_outside_is_heard(hypervisor: Hypervisor) -> None:
    changes, domain = hypervisor.changes, hypervisor.connection().lookupByName("test")
    mark = changes.mark
    assert changes.wait("", 0) == mark, "who knows no mark gets one at once"
    assert changes.wait(mark, 0.05) == mark
    domain.suspend()
    domain.resume()
    assert changes.wait(mark, 0.2) == mark, "it did not end"
    timer = threading.Timer(0.1, domain.destroy)
    timer.start()
    begun = time.monotonic()
    assert changes.wait(mark, PATIENCE) != mark
    assert time.monotonic() - begun < PATIENCE
    timer.join()


def test_a_new_connection_may_have_missed_something(hypervisor: Hypervisor) -> None:
    mark = hypervisor.changes.mark
    hypervisor.connection().close()
    hypervisor.connection()
    assert hypervisor.changes.mark != mark


def test_nobody_is_kept_waiting_by_the_end(hypervisor: Hypervisor) -> None:
    changes = hypervisor.changes
    timer = threading.Timer(0.1, changes.close)
    timer.start()
    begun = time.monotonic()
    changes.wait(changes.mark, PATIENCE)
    assert time.monotonic() - begun < PATIENCE
    timer.join()


def test_an_agent_that_was_restarted_has_other_marks(hypervisor: Hypervisor) -> None:
    again = Hypervisor("test:///default")
    again.connection()
    assert again.changes.mark != hypervisor.changes.mark
