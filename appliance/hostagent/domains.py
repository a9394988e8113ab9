"""VMs by document: what PUT, GET and DELETE of a domain do. libvirt is the only record of them."""

import contextlib
import logging
import re
import shutil
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import libvirt
import msgspec

from appliance.hostagent import config_disk, plugs
from appliance.hostagent.boots import Boots
from appliance.hostagent.config import HostAgentConfig
from appliance.hostagent.domain_xml import NAME_PREFIX, Placement, Record, digest, domain_xml, read_record
from appliance.hostagent.errors import Conflict, NotFound, Refused, StepFailed
from appliance.hostagent.hypervisor import Hypervisor, discard, power_off, undefine
from appliance.hostagent.migration_door import sockets_of
from appliance.hostagent.networks import HostNetworks
from appliance.hostagent.operations import Operation, Operations
from appliance.hostagent.templates import TemplateCache
from appliance.hostagent.volumes import VolumeStore
from appliance.paths import Paths
from systemvm.engine.errors import EngineError
from systemvm.spec.host import Domain, DomainStatus, Power

_log = logging.getLogger("pileus.host")
# What libvirt, a file name and a log line can all hold; together with the prefix still a file name.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
#: Serial logs beyond this many bytes are put aside (one generation) when the VM starts.
SERIAL_LOG_LIMIT = 4 << 20
_MAX_VOLUMES = 24


class Domains:
    """The VMs of this host."""

    def __init__(
        self,
        config: HostAgentConfig,
        paths: Paths,
        hypervisor: Hypervisor,
        volumes: VolumeStore,
        templates: TemplateCache,
        networks: HostNetworks,
    ) -> None:
        self._config = config
        self._paths = paths
        self._hypervisor = hypervisor
        self._volumes = volumes
        self._templates = templates
        self._networks = networks
        self._operations = Operations()
        self._boots = Boots(paths.domains)
        self._records: dict[str, Record] = {}
        self._has_read_back = False
        self._records_lock = threading.Lock()

    def read_back(self) -> int:
        """Learn from libvirt, once, what is there, running or not; how many VMs. Touches none of them."""
        if self._has_read_back:
            return len(self._records)
        records = {
            domain.UUIDString(): read_record(domain.XMLDesc(0)) for domain in self._hypervisor.domains()
        }
        with self._records_lock:
            self._records = {uuid: record for uuid, record in records.items() if record}
            self._has_read_back = True
        return len(self._records)

    def put(self, document: Domain, *, force: bool, wait: float) -> DomainStatus:
        """Make the VM as the document says; waits at most `wait` seconds, then the status is `preparing`.

        `force` pulls the plug where the power button would be pressed. Raises Refused, Conflict at once;
        what fails within `wait` is raised too, later it is the status `failed`.
        """
        self.check(document)
        self.read_back()
        operation = self._operations.start(
            document.id,
            f"VM {document.name}",
            digest(document) + str(force),
            lambda operation: self._apply(document, operation, force),
        )
        if operation.wait(wait) and operation.error:
            raise operation.error
        return self.get(document.id)

    def get(self, uuid: str) -> DomainStatus:
        """Status of one VM. Raises NotFound."""
        found = next((status for status in self.list() if status.id == uuid), None)
        if found is None:
            raise NotFound(f"no VM {uuid} on this host")
        return found

    def list(self) -> list[DomainStatus]:
        """Status of all VMs, by one call to libvirt."""
        self.read_back()
        # Asked before libvirt is: a stop that ends between the two would else pass for a VM that still runs.
        asked = self._operations.all().items()
        operations = [(uuid, operation, operation.is_done()) for uuid, operation in asked]
        statuses = {uuid: self._status(uuid, *told) for uuid, told in self._hypervisor.states().items()}
        for uuid, operation, is_done in operations:
            name = operation.name.removeprefix("VM ")
            if not is_done:
                statuses[uuid] = DomainStatus(
                    id=uuid, name=name, state="preparing", reason=operation.step, reboots=self._reboots(uuid)
                )
            elif uuid in statuses:
                reason = f"the last change failed: {operation.error}"
                statuses[uuid] = msgspec.structs.replace(statuses[uuid], reason=reason)
            else:
                reason = str(operation.error)
                statuses[uuid] = DomainStatus(id=uuid, name=name, state="failed", reason=reason)
        return sorted(statuses.values(), key=lambda status: status.name)

    def _status(self, uuid: str, name: str, state: str, reason: str) -> DomainStatus:
        status = DomainStatus(id=uuid, name=name, state=state, reason=reason, reboots=self._reboots(uuid))
        if state == "running" or not (end := self._boots.end_of(uuid)):
            return status
        # Whatever libvirt makes of it: nobody powered it off.
        return msgspec.structs.replace(status, state="stopped", reason=end, host_rebooted=True)

    def prepare(self, document: Domain, ready: Callable[[Placement], None], *, wait: float) -> bool:
        """Make ready what a VM needs that comes from another host, without defining it, then call `ready`.

        Twice is fine. Whether that is done within `wait` seconds. `delete` takes it back. Raises as `put`.
        """
        self.check(document)

        def work(operation: Operation) -> None:
            with contextlib.ExitStack() as undo:
                _named(document.name, operation, lambda step: self._prepare_volumes(document, step, undo))
                undo.pop_all()
            self._boots.note(document.id)
            ready(self._place(document, operation))

        name = f"VM {document.name}"
        operation = self._operations.start(document.id, name, f"prepare {digest(document)}", work)
        if operation.wait(wait) and operation.error:
            raise operation.error
        return operation.is_done()

    def delete(self, uuid: str, *, keep_volumes: bool = False, wait: float) -> None:
        """Stop the VM and remove all that is its own; gone already is fine. Raises Conflict, StepFailed.

        With `keep_volumes` its volumes stay: they are on their way to another host, or shared with it.
        """
        if not self._operations.cancel(uuid, wait):
            raise Conflict(f"VM {uuid} is busy: ask again")
        operation = self._operations.start(
            uuid, f"VM {uuid}", f"delete {keep_volumes}", lambda step: self._remove(uuid, step, keep_volumes)
        )
        if not operation.wait(wait):
            raise Conflict(f"VM {uuid} is still being removed ({operation.step}): ask again")
        if operation.error:
            raise operation.error
        self._operations.forget(uuid)

    def work_on(
        self, uuid: str, key: str, work: Callable[[Any, Operation], None], *, wait: float
    ) -> DomainStatus:
        """Do `work` with a VM's libvirt domain while nothing else is done with the VM; as `put` otherwise.

        `key` tells whether a second request asks for the same. Raises NotFound, Conflict, HostError.
        """
        domain = self._hypervisor.find(uuid)
        if domain is None:
            raise NotFound(f"no VM {uuid} on this host")
        name = domain.name().removeprefix(NAME_PREFIX)
        operation = self._operations.start(
            uuid, f"VM {name}", key, lambda operation: _named(name, operation, partial(work, domain))
        )
        if operation.wait(wait) and operation.error:
            raise operation.error
        return self.get(uuid)

    def cancel(self, uuid: str, key: str, wait: float) -> bool:
        """End the work of this `key` on a VM; whether it is not under way any more."""
        current = self._operations.get(uuid)
        is_it = current is not None and current.digest == key
        return not is_it or self._operations.cancel(uuid, wait)

    def start_anew(self, domain: Any) -> None:
        """Power-cycle a VM at once, from the disks that it has."""
        power_off(domain, 0.0, lambda _step: None)
        self._start(domain, domain.UUIDString())

    def attachments(self) -> dict[Path, str]:
        """Files of volumes to the VMs that have them, running or by definition."""
        return {
            path: domain.UUIDString()
            for domain in self._hypervisor.domains()
            for running in {False, bool(domain.isActive())}
            for path in plugs.plugged_disks(domain, running=running)
            if self._volumes.volume_of(path)
        }

    def is_running(self, uuid: str) -> bool:
        """Whether libvirt runs it."""
        domain = self._hypervisor.find(uuid)
        return domain is not None and bool(domain.isActive())

    def used_files(self) -> set[Path]:
        """Every file that a VM has as a disk or CD."""
        return {path for domain in self._hypervisor.domains() for path in plugs.used_files(domain)}

    def grow_running(self, uuid: str, path: Path, size: int) -> bool:
        """Tell a running VM that its disk grew to `size` bytes; False if it does not run."""
        domain = self._hypervisor.find(uuid)
        if domain is None or not domain.isActive():
            return False
        domain.blockResize(str(path), size, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
        return True

    def check(self, document: Domain) -> None:
        """Raise Refused for what this host cannot do."""
        if not _NAME.fullmatch(document.name):
            raise Refused(f"VM name {document.name!r}: only letters, digits and ._-, at most 80")
        for nic in document.nics:
            if not self._networks.has_bridge(nic.bridge):
                raise Refused(
                    f"NIC {nic.mac}: bridge {nic.bridge!r} is not in the host's state: PUT that first"
                )
        if not document.volumes and document.direct_boot is None:
            raise Refused(f"VM {document.name} has nothing to boot from: no volume, no kernel")
        if len(document.volumes) > _MAX_VOLUMES:
            raise Refused(f"VM {document.name}: {len(document.volumes)} volumes, at most {_MAX_VOLUMES}")
        for volume in document.volumes:
            self._volumes.path(volume)
        if document.config_disk:
            config_disk.check(document.config_disk)

    def _apply(self, document: Domain, operation: Operation, force: bool) -> None:
        with contextlib.ExitStack() as undo:
            _named(document.name, operation, lambda step: self._apply_steps(document, step, force, undo))
            undo.pop_all()
        self._remember(document)

    def _apply_steps(
        self, document: Domain, operation: Operation, force: bool, undo: contextlib.ExitStack
    ) -> None:
        old = self._hypervisor.find(document.id)
        if old is not None and old.isActive():
            operation.say("looking where its volumes are")
            plugs.refuse_moved(old, [self._volumes.path(volume) for volume in document.volumes])
        if old is None:
            undo.callback(shutil.rmtree, self._folder(document.id), ignore_errors=True)
        self._prepare_volumes(document, operation, undo)
        placement = self._place(document, operation)
        operation.say("defining the VM")
        if old is not None:
            self._keep_detached(old, document)
        domain = self._define(document, domain_xml(document, placement), old, undo)
        self._power(domain, document, placement, operation, force)

    def _prepare_volumes(self, document: Domain, operation: Operation, undo: contextlib.ExitStack) -> None:
        operation.say("preparing its volumes")
        for volume in document.volumes:
            if self._volumes.ensure(volume, operation.say, operation.cancelled):
                undo.callback(self._volumes.delete, volume.id, {}, volume.pool)
            elif self._volumes.is_smaller(volume):
                operation.say(f"growing volume {volume.id}")
                if not self.grow_running(document.id, self._volumes.path(volume), volume.bytes):
                    self._volumes.grow(volume)

    def _place(self, document: Domain, operation: Operation) -> Placement:
        kernel: tuple[Path | None, Path | None, str] = (None, None, "")
        if document.direct_boot:
            kernel = self._templates.boot_files(document.direct_boot.image)
        iso = None
        if document.iso:
            iso = self._templates.base(document.iso, operation.say, operation.cancelled)
        disk = None
        if document.config_disk:
            disk = config_disk.write_config_disk(self._folder(document.id), document.config_disk)
        return Placement(
            acceleration=self._config.acceleration,
            cpu_model=self._config.cpu_model,
            machine_type=self._config.machine_type,
            disks={volume.id: self._volumes.path(volume) for volume in document.volumes},
            serial_log=self._serial_log(document.id),
            vnc_socket=self._vnc_socket(document.id),
            kernel=kernel[0],
            initrd=kernel[1],
            cmdline=kernel[2],
            config_disk=disk,
            iso=iso,
            mtus=self._networks.mtus(),
            isolated=frozenset({self._config.linklocal_bridge}),
        )

    def _define(self, document: Domain, xml: str, old: Any | None, undo: contextlib.ExitStack) -> Any:
        connection = self._hypervisor.connection()
        if old is None:
            domain = connection.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
            undo.callback(discard, domain)
            return domain
        if old.name() != NAME_PREFIX + document.name:
            raise Conflict(f"VM {document.id} is called {old.name().removeprefix(NAME_PREFIX)} here")
        before = old.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE)
        domain = connection.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
        undo.callback(connection.defineXML, before)
        return domain

    def _keep_detached(self, domain: Any, document: Domain) -> None:
        """Volumes that leave a VM by its document stay: only their own DELETE removes data."""
        wanted = {volume.id for volume in document.volumes}
        for path in plugs.plugged_disks(domain, running=bool(domain.isActive())):
            volume = self._volumes.volume_of(path)
            if volume and volume not in wanted:
                self._volumes.keep_file(path)

    def _power(
        self, domain: Any, document: Domain, placement: Placement, operation: Operation, force: bool
    ) -> None:
        grace = 0.0 if force else self._grace(document)
        if document.power is Power.stopped:
            if domain.isActive():
                power_off(domain, grace, operation.say)
            return
        if domain.isActive() and document.reboots > self._reboots(document.id):
            power_off(domain, grace, operation.say)
        if domain.isActive():
            plugs.converge(domain, document, placement, operation.say)
            return
        operation.say("starting the VM")
        self._start(domain, document.id)

    def _grace(self, document: Domain) -> float:
        """System VMs keep nothing that a power cut could harm."""
        config = self._config
        return config.system_stop_grace if document.direct_boot else config.stop_grace

    def _start(self, domain: Any, uuid: str) -> None:
        log = self._serial_log(uuid)
        if log.exists() and log.stat().st_size > SERIAL_LOG_LIMIT:
            log.replace(log.with_suffix(".log.1"))
        self._vnc_socket(uuid).unlink(missing_ok=True)
        # Before: a VM that runs has a boot, one that could not be started has powered off.
        self._boots.note(uuid)
        domain.create()
        self._vnc_socket(uuid).chmod(0o600)

    def _remove(self, uuid: str, operation: Operation, keep_volumes: bool) -> None:
        domain = self._hypervisor.find(uuid)
        if domain is not None:
            power_off(domain, 0.0, operation.say)
            operation.say("removing its volumes")
            disks = plugs.plugged_disks(domain, running=False)
            undefine(domain)
            for path in disks if not keep_volumes else ():
                if self._volumes.volume_of(path):
                    self._volumes.remove_file(path)
        operation.say("removing its files")
        shutil.rmtree(sockets_of(uuid), ignore_errors=True)
        shutil.rmtree(self._folder(uuid), ignore_errors=True)
        for path in (
            self._serial_log(uuid),
            self._serial_log(uuid).with_suffix(".log.1"),
            self._vnc_socket(uuid),
        ):
            path.unlink(missing_ok=True)
        with self._records_lock:
            self._records.pop(uuid, None)

    def _remember(self, document: Domain) -> None:
        with self._records_lock:
            self._records[document.id] = Record(
                document.name, document.power, document.reboots, digest(document)
            )
        _log.info("VM %s is as asked: %s", document.name, document.power.value)

    def _reboots(self, uuid: str) -> int:
        record = self._records.get(uuid)
        return record.reboots if record else 0

    def _folder(self, uuid: str) -> Path:
        return self._paths.domains / uuid

    def _serial_log(self, uuid: str) -> Path:
        return self._paths.serial_logs / f"{uuid}.log"

    def _vnc_socket(self, uuid: str) -> Path:
        return self._paths.vnc / f"{uuid}.sock"


def _named(name: str, operation: Operation, work: Callable[[Operation], None]) -> None:
    """Do it; what goes wrong names the VM and the step."""
    try:
        work(operation)
    except (EngineError, libvirt.libvirtError, OSError) as error:
        raise StepFailed(f"VM {name}", operation.step, str(error)) from error
