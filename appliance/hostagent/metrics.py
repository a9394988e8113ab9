"""Counters of the host's VMs in Prometheus' text format (version 0.0.4)."""

from collections.abc import Iterable, Iterator
from typing import Any

from systemvm.spec.host import DomainStatus

# Metric to help text and libvirt's counter; `{i}` counts devices.
_DOMAIN = {
    "pileus_vm_cpu_nanoseconds_total": ("CPU time of the VM", "cpu.time"),
    "pileus_vm_memory_kib": ("Memory of the VM now", "balloon.current"),
    "pileus_vm_memory_resident_kib": ("Memory of the host that the VM takes", "balloon.rss"),
}
_NIC = {
    "pileus_vm_received_bytes_total": ("Bytes that the NIC sent into the host", "net.{i}.rx.bytes"),
    "pileus_vm_sent_bytes_total": ("Bytes that the host sent into the NIC", "net.{i}.tx.bytes"),
}
_DISK = {
    "pileus_vm_read_bytes_total": ("Bytes read from the disk", "block.{i}.rd.bytes"),
    "pileus_vm_written_bytes_total": ("Bytes written to the disk", "block.{i}.wr.bytes"),
}


def render_metrics(statuses: list[DomainStatus], statistics: list[tuple[str, dict[str, Any]]]) -> str:
    """The text: how many VMs are in which state, and the counters of those that run."""
    lines = ["# HELP pileus_vms VMs by state", "# TYPE pileus_vms gauge"]
    for state in sorted({status.state for status in statuses}):
        count = sum(status.state == state for status in statuses)
        lines.append(f'pileus_vms{{state="{state}"}} {count}')
    for metric, (text, counter) in _DOMAIN.items():
        lines += _header(metric, text)
        lines += _samples(metric, counter, statistics, "", "")
    for metrics, kind, label in ((_NIC, "net", "nic"), (_DISK, "block", "disk")):
        for metric, (text, counter) in metrics.items():
            lines += _header(metric, text)
            lines += _samples(metric, counter, statistics, kind, label)
    return "\n".join(lines) + "\n"


def _samples(
    metric: str, counter: str, statistics: Iterable[tuple[str, dict[str, Any]]], kind: str, label: str
) -> Iterator[str]:
    for uuid, counters in statistics:
        for index in range(int(counters.get(f"{kind}.count", 0)) if kind else 1):
            value = counters.get(counter.replace("{i}", str(index)))
            device = f',{label}="{counters.get(f"{kind}.{index}.name", index)}"' if kind else ""
            if value is not None:
                yield f'{metric}{{vm="{uuid}"{device}}} {value}'


def _header(metric: str, text: str) -> list[str]:
    kind = "counter" if metric.endswith("_total") else "gauge"
    return [f"# HELP {metric} {text}", f"# TYPE {metric} {kind}"]
