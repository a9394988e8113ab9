"""Disks of running VMs that move to another pool which their host reaches, while the guest goes on."""

import contextlib
import logging
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import libvirt

from appliance.hostagent import block_copies, monitor, plugs
from appliance.hostagent.backup import RESERVE
from appliance.hostagent.block_copies import CopiedDisk
from appliance.hostagent.domains import Domains
from appliance.hostagent.errors import Conflict, NoRoom, Refused
from appliance.hostagent.hypervisor import Hypervisor
from appliance.hostagent.image_header import read_backing, read_header
from appliance.hostagent.operations import Operation
from appliance.hostagent.volumes import VolumeStore, create_argv
from systemvm.engine.command import run
from systemvm.engine.errors import EngineError
from systemvm.spec.host import DomainStatus, VolumeFetch
from systemvm.spec.types import Uuid

_log = logging.getLogger("pileus.host")
#: Seconds that a move may take to notice that nobody wants it any more.
_STOP = 30.0
#: In a VM's folder while its guest stands still for a moment.
_MARK = "standing"


class DiskMoves:
    """The moves on this host. libvirt and the files are the only record of them.

    `folder` has a folder for each VM.
    """

    def __init__(self, hypervisor: Hypervisor, domains: Domains, volumes: VolumeStore, folder: Path) -> None:
        self._hypervisor = hypervisor
        self._domains = domains
        self._volumes = volumes
        self._folder = folder

    def put(self, vm: Uuid, copy: VolumeFetch, *, wait: float) -> DomainStatus:
        """Move a volume of a running VM to `copy.volume.pool`; its old file stays, used by nobody.

        One that is there already is fine; a copy that an earlier agent began goes on. `preparing` while that
        takes longer than `wait`. Raises NotFound, Conflict, Refused; StepFailed.
        """
        self._volumes.path(copy.volume)

        def work(domain: Any, operation: Operation) -> None:
            self._move(domain, copy, operation)

        return self._domains.work_on(vm, _key(copy.volume.id, copy.volume.pool), work, wait=wait)

    def stop(self, volume_id: Uuid, pool: str) -> None:
        """End the move of a volume to a pool; the VM keeps its old file unless it has the new one already.

        Raises Conflict while it does not end.
        """
        into = self._volumes.pools().get(pool)
        for path, vm in self._domains.attachments().items() if into is not None else ():
            if self._volumes.volume_of(path) != volume_id or into is None:
                continue
            if not self._domains.cancel(vm, _key(volume_id, pool), _STOP):
                raise Conflict(f"volume {volume_id} is still being moved to pool {pool}: ask again")
            if (domain := self._hypervisor.find(vm)) is not None:
                block_copies.wake(domain, self._mark(vm))
                block_copies.end(domain, into / path.name)

    def wake_all(self) -> None:
        """Let all guests go on that an agent had stopped for a moment when it ended."""
        for mark in self._folder.glob(f"*/{_MARK}"):
            try:
                if (domain := self._hypervisor.find(mark.parent.name)) is not None:
                    _log.warning("VM %s goes on, an agent ended while its disk moved", mark.parent.name)
                    block_copies.wake(domain, mark)
            except libvirt.libvirtError as error:
                _log.error("VM %s still stands, because %s", mark.parent.name, error)

    def _mark(self, vm: str) -> Path:
        return self._folder / vm / _MARK

    def _move(self, domain: Any, copy: VolumeFetch, operation: Operation) -> None:
        new, mark = self._volumes.path(copy.volume), self._mark(domain.UUIDString())
        block_copies.wake(domain, mark)
        if not domain.isActive():
            if new in plugs.plugged_disks(domain, running=False):
                return
            raise Refused("it does not run, so none of its volumes moves while it runs")
        disk = self._disk(domain, copy.volume.id)
        if disk.file != new:
            self._copy(domain, disk, copy, new, operation)
        for file in plugs.plugged_disks(domain, running=False):
            if self._volumes.volume_of(file) == copy.volume.id and file != new:
                block_copies.define_with(domain, file, new)
        if copy.keep:
            self._volumes.keep(copy.volume.id, copy.volume.pool)

    def _disk(self, domain: Any, volume: Uuid) -> CopiedDisk:
        disks = block_copies.disks_of(domain)
        found = next((disk for disk in disks if self._volumes.volume_of(disk.file) == volume), None)
        if found is None:
            raise Refused(f"it does not have volume {volume} plugged in")
        return found

    def _copy(self, domain: Any, disk: CopiedDisk, copy: VolumeFetch, new: Path, step: Operation) -> None:
        """Raises HostError, libvirt.libvirtError; the VM has its old file then, and there is no other."""
        try:
            if disk.into != new:
                if disk.into is not None:  # one that nobody wants any more, to another pool
                    self._discard(domain, disk.into)
                self._begin(domain, disk, copy, new, step)
            block_copies.follow(domain, disk.device, new, _teller(step, copy.volume.id), step.cancelled)
            step.say(f"giving the VM volume {copy.volume.id} in pool {copy.volume.pool}")
            block_copies.take_over(domain, disk.device, disk.file, new, self._mark(domain.UUIDString()))
        except BaseException:
            with contextlib.suppress(libvirt.libvirtError, EngineError):
                self._discard(domain, new)
            raise

    def _begin(self, domain: Any, disk: CopiedDisk, copy: VolumeFetch, new: Path, step: Operation) -> None:
        if kept := monitor.nodes(domain)[disk.file].snapshots:
            words = f"volume {copy.volume.id} has {len(kept)} VM snapshots, which a copy would not have"
            raise Refused(f"{words}: remove them first")
        backing = read_backing(disk.file)
        base = self._base(copy, disk.file, new, backing, step) if backing is not None else None
        parts = [disk.file] if base is not None or backing is None else [disk.file, backing]
        _require_room(parts, new.parent)
        new.unlink(missing_ok=True)  # what an earlier move left: the VM's own file is the one that counts
        run(create_argv(new, read_header(disk.file).virtual_size, base))
        new.chmod(0o600)
        step.say(f"moving volume {copy.volume.id}, 0 %")
        block_copies.begin(domain, disk, new, keeps_base=base is not None)

    def _base(self, copy: VolumeFetch, old: Path, new: Path, backing: Path, step: Operation) -> Path | None:
        """The same template for the new file; None where there is none: then it has all content itself."""
        cache = self._volumes.templates_for(new)
        if cache is self._volumes.templates_for(old):
            return backing
        wanted = copy.volume.base
        if wanted is None or wanted.once:
            return None
        base = cache.base(wanted, step.say, step.cancelled, copy.source)
        # Entries are named by their content; another build of a catalog image is another.
        return base if base.name == backing.name else None

    def _discard(self, domain: Any, file: Path) -> None:
        """Remove a file that was copied into, unless the VM has it by now. Raises libvirt.libvirtError."""
        block_copies.end(domain, file)
        if file not in plugs.used_files(domain):
            file.unlink(missing_ok=True)


def _require_room(parts: Iterable[Path], folder: Path) -> None:
    """Raise NoRoom unless a copy of these files fits and leaves the guests room."""
    needed, free = sum(part.stat().st_blocks * 512 for part in parts), shutil.disk_usage(folder).free
    if needed + RESERVE > free:
        words = f"{needed} bytes are needed and {RESERVE} must stay free, but {free} are free"
        raise NoRoom(f"no room for a copy in {folder}: {words}: make room")


def _teller(operation: Operation, volume: Uuid) -> Any:
    return lambda percent: operation.say(f"moving volume {volume}, {percent} %")


def _key(volume: Uuid, pool: str) -> str:
    return f"move {volume} to {pool}"
