"""Copies of volumes on their way to the storage VM: made, checked, sent, and gone from this host again.

A copy lies beside its volume as `<id>.copy` while it is worked on. Nothing of it is kept: what this agent
remembers of copies it forgets when it restarts, and whoever asked asks again.
"""

import logging
import shutil
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import libvirt
import msgspec

from appliance.hostagent import backup, upload
from appliance.hostagent.errors import Cancelled, NotFound, StepFailed
from appliance.hostagent.hypervisor import Hypervisor
from appliance.hostagent.operations import Operation, Operations
from appliance.hostagent.templates import MAX_BYTES
from appliance.hostagent.volumes import Attachments, VolumeStore
from systemvm.engine.errors import EngineError
from systemvm.engine.image_header import inspect_image
from systemvm.spec.host import CopyState, CopyStatus, VolumeCopy

_log = logging.getLogger("pileus.host")
_SUFFIX = ".copy"
#: Copies at a time: each reads and writes a whole disk.
WORKERS = 2
#: How many that ended well are remembered until somebody deletes them.
MOST_REMEMBERED = 1000


class Copies:
    """The copies of this host. `attachments` tells which files VMs have."""

    def __init__(
        self,
        volumes: VolumeStore,
        hypervisor: Hypervisor,
        attachments: Callable[[], Attachments],
        *,
        backoff: float = upload.BACKOFF,
    ) -> None:
        self._volumes = volumes
        self._hypervisor = hypervisor
        self._attachments = attachments
        self._backoff = backoff
        self._operations = Operations(WORKERS)
        self._statuses: dict[str, CopyStatus] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._clear()

    def put(self, document: VolumeCopy, *, wait: float) -> CopyStatus:
        """Begin it, or look how far it is; waits at most `wait` seconds. Raises NotFound, Conflict.

        One that failed begins anew; one that is done stays done.
        """
        status = self._statuses.get(document.id)
        if status is not None and status.state is CopyState.done:
            return status
        if self._volumes.find(document.volume) is None:
            raise NotFound(f"no volume {document.volume} on this host")
        if status is None:
            self._note(document, CopyState.copying)
        operation = self._operations.start(
            document.id,
            f"copy {document.id}",
            document.volume,
            lambda operation: self._work(document, operation),
        )
        operation.wait(wait)
        return self.get(document.id)

    def get(self, copy_id: str) -> CopyStatus:
        """How far it is. Raises NotFound."""
        status, operation = self._statuses.get(copy_id), self._operations.get(copy_id)
        if operation is not None and status is not None and not operation.is_done():
            return msgspec.structs.replace(status, step=operation.step)
        if operation is not None and operation.error is not None and status is not None:
            return msgspec.structs.replace(status, state=CopyState.failed, error=str(operation.error))
        if status is None:
            raise NotFound(f"no copy {copy_id} on this host")
        return status

    def list(self) -> list[CopyStatus]:
        """All copies that are remembered."""
        return [self.get(copy_id) for copy_id in sorted(self._statuses)]

    def delete(self, copy_id: str, *, wait: float) -> bool:
        """Cancel it and forget it; gone already is fine. False while it has not ended yet."""
        if not self._operations.cancel(copy_id, wait):
            return False
        self._operations.forget(copy_id)
        self._statuses.pop(copy_id, None)
        return True

    def _work(self, document: VolumeCopy, operation: Operation) -> None:
        self._note(document, CopyState.copying)
        source = self._volumes.find_used(document.volume, self._attachments())
        if source is None:
            raise NotFound(f"volume {document.volume} is gone")
        target = self._volumes.unfinished(source, _SUFFIX, document.id)
        try:
            self._make(source, target, operation)
            operation.say("checking the copy")
            # Its own QEMU made it, but what it read was a guest's to write.
            inspect_image(target, "qcow2", MAX_BYTES)
            sha256 = upload.sha256_of(target, operation.cancelled)
            size = target.stat().st_size
            self._note(document, CopyState.sending, size, sha256)
            self._send(document, target, size, sha256, operation)
        except (libvirt.libvirtError, OSError) as error:
            raise StepFailed(f"copy of volume {document.volume}", operation.step, str(error)) from error
        except Cancelled:
            raise
        except EngineError as error:
            raise StepFailed(f"copy of volume {document.volume}", operation.step, str(error)) from error
        finally:
            target.unlink(missing_ok=True)
        self._note(document, CopyState.done, size, sha256)
        _log.info("copy %s of volume %s is in the storage VM, %d bytes", document.id, document.volume, size)

    def _make(self, source: Path, target: Path, operation: Operation) -> None:
        owner = self._attachments().get(source, "")
        with self._alone(owner or source.stem, operation):
            operation.say("measuring the volume")
            target.unlink(missing_ok=True)
            backup.check_room(source, target, shutil.disk_usage(target.parent).free)

            def tell(done: int) -> None:
                operation.say(f"copying the volume, {done >> 20} MiB")

            tell(0)
            domain: Any = self._hypervisor.find(owner) if owner else None
            if domain is not None and domain.isActive():
                backup.copy_running(domain, source, target, tell, operation.cancelled)
            else:
                backup.copy_at_rest(source, target, tell, operation.cancelled)
        target.chmod(0o600)

    def _send(self, document: VolumeCopy, target: Path, size: int, sha256: str, operation: Operation) -> None:
        def tell(sent: int) -> None:
            operation.say(f"sending the copy, {sent * 100 // max(size, 1)} %")

        tell(0)
        upload.send(document, target, sha256, tell, operation.cancelled, backoff=self._backoff)

    def _note(self, document: VolumeCopy, state: CopyState, size: int = 0, sha256: str = "") -> None:
        status = CopyStatus(id=document.id, volume=document.volume, state=state, size=size, sha256=sha256)
        self._statuses[document.id] = status
        done = [key for key, kept in list(self._statuses.items()) if kept.state is CopyState.done]
        for key in done[: max(len(done) - MOST_REMEMBERED, 0)]:
            self._statuses.pop(key, None)

    @contextmanager
    def _alone(self, subject: str, operation: Operation) -> Iterator[None]:
        """A VM has one backup job at a time."""
        lock = self._locks[subject]
        while not lock.acquire(timeout=0.2):
            operation.say("waiting for another copy of the same VM")
            if operation.cancelled.is_set():
                raise Cancelled("the copy was cancelled")
        try:
            yield
        finally:
            lock.release()

    def _clear(self) -> None:
        """Remove what an agent left that is no more."""
        for path in self._volumes.leftovers(_SUFFIX):
            _log.info("%s is removed, because nobody works on it any more", path.name)
            path.unlink(missing_ok=True)
