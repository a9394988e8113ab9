"""QEMU's own monitor (QMP), through libvirt: what libvirt has no call for. One door, few commands.

Commands: https://qemu-project.gitlab.io/qemu/interop/qemu-qmp-ref.html. libvirt marks such VMs as tainted,
which changes nothing for them.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libvirt_qemu

from appliance.hostagent.errors import HostError

_POLL = 0.05


class MonitorRefused(HostError):
    """QEMU said no; its words."""

    code = "monitor_refused"


@dataclass(frozen=True)
class Node:
    """A block node: QEMU's name of an open qcow2 file, and the names of the snapshots inside the file."""

    name: str
    snapshots: frozenset[str]


def ask(domain: Any, command: str, **arguments: Any) -> Any:
    """What a running VM's QEMU answers. Raises MonitorRefused, libvirt.libvirtError."""
    request = json.dumps({"execute": command, "arguments": arguments})
    answer = json.loads(libvirt_qemu.qemuMonitorCommand(domain, request, 0))
    if "error" in answer:
        raise MonitorRefused(f"QEMU refused {command}: {answer['error']['desc']}")
    return answer["return"]


def run_job(domain: Any, command: str, **arguments: Any) -> None:
    """Run one of QEMU's jobs to its end. Raises MonitorRefused with the words it failed with.

    A job that an agent left behind when it was restarted is waited for first.
    """
    job = f"pileus-{command}"
    if any(left["id"] == job for left in ask(domain, "query-jobs")):
        _end(domain, job)
    ask(domain, command, **{"job-id": job}, **arguments)
    if words := _end(domain, job):
        raise MonitorRefused(f"QEMU's {command} failed: {words}")


def nodes(domain: Any) -> dict[Path, Node]:
    """The writable qcow2 files that a running VM has open."""
    return {
        Path(node["file"]): Node(
            node["node-name"],
            frozenset(snapshot["name"] for snapshot in node["image"].get("snapshots", ())),
        )
        for node in ask(domain, "query-named-block-nodes", flat=True)
        if node["drv"] == "qcow2" and not node["ro"]
    }


def _end(domain: Any, job: str) -> str:
    """Wait for a job and forget it; why it failed, empty if it did not."""
    while True:
        found = next((one for one in ask(domain, "query-jobs") if one["id"] == job), None)
        if found is None:
            return ""
        if found["status"] == "concluded":
            ask(domain, "job-dismiss", id=job)
            return str(found.get("error", ""))
        time.sleep(_POLL)
