"""VM snapshots: one internal snapshot in each of a VM's qcow2 files, of one moment, under the snapshot's id.

The files are the only record, so a snapshot goes wherever its volumes go (docs/decisions/0013).
"""

import contextlib
import json
from pathlib import Path
from typing import Any

from appliance.hostagent import monitor, plugs
from appliance.hostagent.domains import Domains
from appliance.hostagent.errors import Refused
from appliance.hostagent.operations import Operation
from appliance.hostagent.volumes import VolumeStore
from systemvm.engine.command import run
from systemvm.engine.errors import CommandError
from systemvm.spec.host import DomainSnapshot, DomainStatus
from systemvm.spec.types import Uuid

#: Seconds for one change of the snapshots in a file that no VM has open.
_FILE_TIMEOUT = 300.0


class Snapshots:
    """The snapshots of this host's VMs."""

    def __init__(self, domains: Domains, volumes: VolumeStore) -> None:
        self._domains = domains
        self._volumes = volumes

    def take(self, vm: Uuid, snapshot: DomainSnapshot, *, wait: float) -> DomainStatus:
        """Make a snapshot, if it is not there: of the disks, and with `memory` of the running VM's memory.

        Raises NotFound, Refused; StepFailed when it ended badly within `wait` seconds.
        """

        def work(domain: Any, operation: Operation) -> None:
            if snapshot.memory and not domain.isActive():
                raise Refused(f"VM {vm} does not run, so it has no memory to keep")
            files = self._files(domain, running=bool(domain.isActive()))
            operation.say("making the snapshot")
            taker = _take_running if domain.isActive() else _take_stopped
            taker(domain, files, snapshot)

        return self._domains.work_on(vm, f"take {snapshot.id} {snapshot.memory}", work, wait=wait)

    def drop(self, vm: Uuid, snapshot: Uuid, *, wait: float) -> DomainStatus:
        """Remove a snapshot; gone already is fine. Raises as `take`."""

        def work(domain: Any, operation: Operation) -> None:
            operation.say("removing the snapshot")
            files = self._files(domain, running=bool(domain.isActive()))
            (_drop_running if domain.isActive() else _drop_stopped)(domain, files, snapshot)

        return self._domains.work_on(vm, f"drop {snapshot}", work, wait=wait)

    def revert(self, vm: Uuid, snapshot: DomainSnapshot, *, wait: float) -> DomainStatus:
        """Put a VM back to a snapshot: a running one with its memory, a stopped one with its disks alone.

        A running VM whose memory cannot be loaded has the snapshot's disks and starts anew from them; that is
        a failure all the same. Raises as `take`.
        """

        def work(domain: Any, operation: Operation) -> None:
            if snapshot.memory != bool(domain.isActive()):
                raise Refused(f"VM {vm} must {'run' if snapshot.memory else 'be stopped'} to go back to that")
            operation.say("going back to the snapshot")
            files = self._files(domain, running=snapshot.memory)
            if not snapshot.memory:
                _revert_stopped(files, snapshot.id)
                return
            try:
                _revert_running(domain, files, snapshot.id)
            except monitor.MonitorRefused:
                operation.say("loading the snapshot's memory; the VM starts anew from its disks")
                self._domains.start_anew(domain)
                raise

        return self._domains.work_on(vm, f"revert {snapshot.id}", work, wait=wait)

    def _files(self, domain: Any, *, running: bool) -> list[Path]:
        """The VM's volumes, in their order. Raises Refused when it has none."""
        disks = plugs.plugged_disks(domain, running=running)
        files = [path for path in disks if self._volumes.volume_of(path)]
        if not files:
            raise Refused(f"VM {domain.UUIDString()} has no volume that could keep a snapshot")
        return files


def _take_running(domain: Any, files: list[Path], snapshot: DomainSnapshot) -> None:
    nodes = monitor.nodes(domain)
    if all(snapshot.id in nodes[file].snapshots for file in files):
        return
    names = [nodes[file].name for file in files]
    _drop_running(domain, files, snapshot.id)  # a part of it may be there
    if snapshot.memory:
        monitor.run_job(domain, "snapshot-save", tag=snapshot.id, vmstate=names[0], devices=names)
        return
    actions = [
        {"type": "blockdev-snapshot-internal-sync", "data": {"device": name, "name": snapshot.id}}
        for name in names
    ]
    monitor.ask(domain, "transaction", actions=actions)


def _take_stopped(_domain: Any, files: list[Path], snapshot: DomainSnapshot) -> None:
    if all(snapshot.id in kept_in(file) for file in files):
        return
    _drop_stopped(_domain, files, snapshot.id)
    with contextlib.ExitStack() as undo:
        for file in files:
            _change(file, "-c", snapshot.id)
            undo.callback(_change, file, "-d", snapshot.id)
        undo.pop_all()


def _drop_running(domain: Any, files: list[Path], snapshot: str) -> None:
    nodes = monitor.nodes(domain)
    names = [nodes[file].name for file in files if snapshot in nodes[file].snapshots]
    if names:
        monitor.run_job(domain, "snapshot-delete", tag=snapshot, devices=names)


def _drop_stopped(_domain: Any, files: list[Path], snapshot: str) -> None:
    for file in files:
        if snapshot in kept_in(file):
            _change(file, "-d", snapshot)


def _revert_running(domain: Any, files: list[Path], snapshot: str) -> None:
    nodes = monitor.nodes(domain)
    _require_whole({file: nodes[file].snapshots for file in files}, snapshot)
    names = [nodes[file].name for file in files]
    monitor.run_job(domain, "snapshot-load", tag=snapshot, vmstate=names[0], devices=names)


def _revert_stopped(files: list[Path], snapshot: str) -> None:
    _require_whole({file: kept_in(file) for file in files}, snapshot)
    for file in files:
        _change(file, "-a", snapshot)


def _require_whole(kept: dict[Path, frozenset[str]], snapshot: str) -> None:
    """Before anything is changed: a VM half gone back would be worse than either."""
    missing = sorted(file.stem for file, names in kept.items() if snapshot not in names)
    if missing:
        raise Refused(f"snapshot {snapshot} is not in volume {', '.join(missing)}")


def kept_in(file: Path) -> frozenset[str]:
    """Names of the snapshots in a qcow2 file that no VM has open."""
    told = json.loads(run(("qemu-img", "info", "-f", "qcow2", "--output=json", str(file))).stdout)
    return frozenset(snapshot["name"] for snapshot in told.get("snapshots", ()))


def _change(file: Path, how: str, snapshot: str) -> None:
    """`-c` makes, `-d` deletes, `-a` goes back to one. Raises HostError with qemu-img's words."""
    try:
        run(("qemu-img", "snapshot", how, snapshot, str(file)), timeout=_FILE_TIMEOUT)
    except CommandError as error:
        raise Refused(f"volume {file.stem}: {error}") from error
