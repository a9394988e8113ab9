"""Every driver tells that a VM ended: the simulator, and the KVM driver by a request that waits."""

import threading

import pytest

from tests.contract.mgmt.test_drivers import VM, Bench, _state, bench

pytestmark = pytest.mark.contract
__all__ = ["bench"]


def test_a_vm_that_ends_is_told_to_whoever_waits(bench: Bench) -> None:
    bench.driver.put_state(bench.host, _state())
    bench.driver.put_domain(bench.host, bench.guest())
    mark = bench.driver.wait_for_change(bench.host, "", 10)
    assert bench.driver.wait_for_change(bench.host, mark, 0.05) == mark, "nothing ended"
    timer = threading.Timer(0.1, bench.simulator.kill, (VM,))
    timer.start()
    assert bench.driver.wait_for_change(bench.host, mark, 30) != mark
    timer.join()
    assert bench.driver.wait_for_change(bench.host, mark, 30) != mark, "and to whoever asks later"
