"""Certificates that near their end are issued anew, before anybody notices.

mgmt's own are read at every call. Those inside documents (what console proxies and storage VMs show) are
renewed by the next compilation, which this asks for. Agents' own came with their config disk: a system VM
is started anew before they end (see `decide.MOST_DAYS`). A host agent's is renewed by `pileus up`.
"""

import logging

from sqlalchemy import select

from mgmt.model.states import VmKind
from mgmt.ops.documents import touch_zone
from mgmt.ops.runtime import Runtime
from mgmt.store.tables import Vm

log = logging.getLogger(__name__)


def renew(runtime: Runtime) -> list[str]:
    """Ask for new documents where a certificate in them is due; the names of what is due."""
    due = runtime.authority.due()
    machines = {parts[1] for parts in map(_parts, due) if parts[0] == "machines" and parts[2] != "agent"}
    with runtime.database.writing() as session:
        query = select(Vm).where(Vm.removed.is_(None), Vm.kind.in_((VmKind.console, VmKind.storage)))
        for vm in session.scalars(query).all():
            is_console = vm.kind == VmKind.console
            if vm.id in machines or (is_console and "console-client" in due):
                log.info("%s gets a new document, because a certificate in it is due", vm.name)
                touch_zone(session, vm.zone_id, VmKind(vm.kind))
    for name in due:
        if name.startswith("hosts/"):
            log.warning("the certificate of host %s is due: run `pileus up` on it", name.partition("/")[2])
    return due


def _parts(name: str) -> list[str]:
    return [*name.split("/"), "", "", ""]
