"""Volumes that come from other hosts: the file's own bytes, snapshots in it included, over a local base."""

import json
import os
from pathlib import Path

from appliance.hostagent.errors import Cancelled, Refused
from appliance.hostagent.image_header import read_header
from appliance.hostagent.operations import Operation, Operations
from appliance.hostagent.peers import PeerRefused, opened, read_line
from appliance.hostagent.templates import TemplateCache
from appliance.hostagent.volumes import VolumeStore
from systemvm.engine.command import run
from systemvm.spec.host import VolumeFetch

_CHUNK = 1 << 18


class VolumeFetches:
    """Copies under way. One that ended is forgotten: the file is there, or the next request tries again."""

    def __init__(self, volumes: VolumeStore, templates: TemplateCache) -> None:
        self._volumes = volumes
        self._templates = templates
        self._operations = Operations(workers=4)

    def put(self, copy: VolumeFetch, *, wait: float) -> bool:
        """Fetch a volume unless it is here; whether it is. Raises Refused, PeerRefused, StepFailed."""
        volume = copy.volume
        path = self._volumes.path(volume)
        if not path.exists():
            operation = self._operations.start(
                volume.id, f"volume {volume.id}", f"{path}", lambda step: self._fetch(copy, path, step)
            )
            if not operation.wait(wait):
                return False
            if operation.error:
                raise operation.error
        if copy.keep:
            self._volumes.keep(volume.id)
        return True

    def _fetch(self, copy: VolumeFetch, path: Path, operation: Operation) -> None:
        volume, part = copy.volume, path.with_suffix(".new")
        base = None
        if volume.base is not None:
            base = self._templates.base(volume.base, operation.say, operation.cancelled)
        operation.say("copying the volume")
        try:
            _receive(copy, part, operation)
            _check(part, volume.id, base)
            if base is not None:
                format_ = read_header(base).format
                run(("qemu-img", "rebase", "-u", "-f", "qcow2", "-F", format_, "-b", str(base), str(part)))
            part.chmod(0o600)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


def _receive(copy: VolumeFetch, part: Path, operation: Operation) -> None:
    with opened(copy.source, "volume") as stream, part.open("wb") as file:
        size = int(read_line(stream) or 0)
        done = 0
        while done < size:
            data = stream.recv(_CHUNK)
            if not data:
                raise PeerRefused(
                    f"volume {copy.volume.id}: the connection ended after {done} of {size} bytes"
                )
            if operation.cancelled.is_set():
                raise Cancelled(f"the copy of volume {copy.volume.id} was cancelled")
            file.write(data)
            done += len(data)
            operation.say(f"copying the volume, {done * 100 // size} %")


def _check(part: Path, volume: str, base: Path | None) -> None:
    """A host may be anybody's by now: its file names none but the base that we replace. Raises Refused."""
    if read_header(part).format != "qcow2":
        raise Refused(f"volume {volume}: what came is no qcow2 file")
    # -U, and no chain: nothing that the file names is opened.
    told = json.loads(run(("qemu-img", "info", "-U", "-f", "qcow2", "--output=json", str(part))).stdout)
    inside = told.get("format-specific", {}).get("data", {})
    if "data-file" in inside or (base is None and "backing-filename" in told):
        raise Refused(f"volume {volume}: what came refers to another file")
