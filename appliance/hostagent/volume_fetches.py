"""Volumes that come from other hosts: the file's own bytes, snapshots in it included, over a local base."""

import json
from collections.abc import Callable
from pathlib import Path

from appliance.hostagent.errors import Conflict, Refused
from appliance.hostagent.image_header import read_header
from appliance.hostagent.operations import Operation, Operations
from appliance.hostagent.peers import receive
from appliance.hostagent.volumes import VolumeStore
from systemvm.engine.command import run
from systemvm.engine.files import put_in_place
from systemvm.spec.host import VolumeFetch

#: Seconds that a copy may take to notice that nobody wants it any more.
_STOP = 10.0


class VolumeFetches:
    """Copies under way. One that ended is forgotten: the file is there, or the next request tries again."""

    def __init__(self, volumes: VolumeStore) -> None:
        self._volumes = volumes
        self._operations = Operations(workers=4)

    def put(self, copy: VolumeFetch, *, wait: float) -> bool:
        """Fetch a volume unless it is here; whether it is. Raises Refused, PeerRefused, StepFailed."""
        volume = copy.volume
        path = self._volumes.path(volume)
        if not path.exists():
            operation = self._operations.start(
                volume.id, f"volume {volume.id}", f"{path}", lambda step: self._fetch(copy, path, step)
            )
            if not _has_ended(operation, wait):
                return False
        if copy.keep:
            self._volumes.keep(volume.id, volume.pool)
        return True

    def put_base(self, copy: VolumeFetch, *, wait: float) -> bool:
        """Have the template that a volume is based on which will come here; whether it is here.

        The host that has the volume is asked first: the template may be deleted since. Raises as `put`.
        """
        volume, base = copy.volume, copy.volume.base
        if base is None:
            return True

        def work(step: Operation) -> None:
            templates = self._volumes.templates_for(self._volumes.path(volume))
            templates.base(base, step.say, step.cancelled, copy.source)

        name = f"base of volume {volume.id}"
        return _has_ended(self._operations.start(name, name, base.template, work), wait)

    def stop(self, volume_id: str) -> None:
        """End the copy of a volume that is under way, so that old content is never taken for new.

        Raises Conflict.
        """
        if not self._operations.cancel(volume_id, _STOP):
            raise Conflict(f"volume {volume_id} is still being copied: ask again when that has ended")
        self._operations.forget(volume_id)

    def _fetch(self, copy: VolumeFetch, path: Path, operation: Operation) -> None:
        volume, part = copy.volume, self._volumes.unfinished(path, ".new")
        base = None
        if volume.base is not None:
            templates = self._volumes.templates_for(path)
            base = templates.base(volume.base, operation.say, operation.cancelled, copy.source)
        operation.say("copying the volume")
        try:
            receive(copy.source, f"volume {copy.pool}".strip(), part, _teller(operation), operation.cancelled)
            _check(part, volume.id, base)
            if base is not None:
                format_ = read_header(base).format
                run(("qemu-img", "rebase", "-u", "-f", "qcow2", "-F", format_, "-b", str(base), str(part)))
            part.chmod(0o600)
            put_in_place(part, path)
        finally:
            part.unlink(missing_ok=True)


def _has_ended(operation: Operation, wait: float) -> bool:
    """Whether it ended in time. Raises what ended it."""
    if not operation.wait(wait):
        return False
    if operation.error:
        raise operation.error
    return True


def _teller(operation: Operation) -> Callable[[int, int], None]:
    return lambda done, size: operation.say(f"copying the volume, {done * 100 // size} %")


def _check(part: Path, volume: str, base: Path | None) -> None:
    """A host may be anybody's by now: its file names none but the base that we replace. Raises Refused."""
    if read_header(part).format != "qcow2":
        raise Refused(f"volume {volume}: what came is no qcow2 file")
    # -U, and no chain: nothing that the file names is opened.
    told = json.loads(run(("qemu-img", "info", "-U", "-f", "qcow2", "--output=json", str(part))).stdout)
    inside = told.get("format-specific", {}).get("data", {})
    if "data-file" in inside or (base is None and "backing-filename" in told):
        raise Refused(f"volume {volume}: what came refers to another file")
