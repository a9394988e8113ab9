"""Certificates in documents (what console proxies and storage VMs show) are issued anew before their end.

The next compilation does that, which this asks for. Those of agents: `mgmt.reconcile.certificates`.
"""

import logging

from sqlalchemy import select

from mgmt.model.states import VmKind
from mgmt.ops.machines.documents import touch_zone
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
    return due


def _parts(name: str) -> list[str]:
    return [*name.split("/"), "", "", ""]
