"""Copies of simulated volumes: the storage VM that the URL names has them at once, or refuses them."""

from collections.abc import Iterable
from urllib.parse import urlsplit

import msgspec

from mgmt.drivers.simulated_machine import SimulatedMachine
from systemvm.spec.host import CopyState, CopyStatus, HostVolume, VolumeCopy

#: Of every copy of a simulated volume.
SHA256 = "c" * 64


def send(
    copy: VolumeCopy,
    volume: HostVolume,
    machines: Iterable[SimulatedMachine],
    known: dict[str, CopyStatus],
) -> CopyStatus:
    """What became of it; what is `known` to be done stays done."""
    if copy.id not in known or known[copy.id].state is not CopyState.done:
        known[copy.id] = _send(copy, volume.bytes, machines)
    return known[copy.id]


def _send(copy: VolumeCopy, size: int, machines: Iterable[SimulatedMachine]) -> CopyStatus:
    sent = CopyStatus(id=copy.id, volume=copy.volume, state=CopyState.done, size=size, sha256=SHA256)
    error = _deliver(copy, size, machines)
    return msgspec.structs.replace(sent, state=CopyState.failed, error=error) if error else sent


def _deliver(copy: VolumeCopy, size: int, machines: Iterable[SimulatedMachine]) -> str:
    """Why it did not arrive."""
    url = urlsplit(copy.url)
    if url.path != f"/v1/uploads/{copy.id}":
        return f"{url.path}: not found"
    for machine in machines:
        storage = machine.state.storage if machine.state else None
        if storage is not None and storage.address == url.hostname:
            return machine.receive(copy.id, size, SHA256)
    return f"no answer from {url.hostname}: connection refused"
