"""Prometheus text of the host's VMs."""

import pytest

from appliance.hostagent.hypervisor import describe_state
from appliance.hostagent.metrics import render_metrics
from systemvm.spec.host import DomainStatus

pytestmark = pytest.mark.unit


def test_counters() -> None:
    status = DomainStatus(id="0d3c2f00-0000-4000-8000-000000000001", name="x", state="running")
    statistics = {
        "cpu.time": 5, "net.count": 1, "net.0.name": "t1", "net.0.rx.bytes": 7,
        "block.count": 2, "block.0.name": "vda", "block.0.rd.bytes": 1, "block.1.name": "vdb",
    }  # fmt: skip
    text = render_metrics([status, status], [("u1", statistics)])
    assert 'pileus_vms{state="running"} 2\n' in text
    assert 'pileus_vm_cpu_nanoseconds_total{vm="u1"} 5\n' in text
    assert 'pileus_vm_received_bytes_total{vm="u1",nic="t1"} 7\n' in text
    assert 'pileus_vm_read_bytes_total{vm="u1",disk="vda"} 1\n' in text
    assert "vdb" not in text, "what libvirt does not say is not made up"


@pytest.mark.parametrize(
    ("state", "reason", "expected"),
    [
        (1, 1, ("running", "")),
        (5, 1, ("stopped", "powered off from inside")),
        (5, 2, ("stopped", "stopped by the host")),
        (5, 3, ("crashed", "its process ended")),
        (3, 5, ("running", "paused: the disk of the host is full or broken")),
        (6, 1, ("crashed", "")),
    ],
)
def test_states_in_words(state: int, reason: int, expected: tuple[str, str]) -> None:
    assert describe_state({"state.state": state, "state.reason": reason}) == expected
