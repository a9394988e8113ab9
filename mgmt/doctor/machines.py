"""Whether system VMs have what they should have, and work."""

from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.agents.errors import AgentError
from mgmt.doctor.finding import Finding
from mgmt.model.errors import CloudError
from mgmt.model.states import VmKind, VmState
from mgmt.ops.endpoints import machine_agent
from mgmt.ops.runtime import Runtime
from mgmt.store.tables import Vm


def examine_machines(runtime: Runtime, session: Session, busy: set[str]) -> Iterator[Finding]:
    """Contradictions between system VMs and their rows."""
    running = select(Vm).where(Vm.kind != VmKind.user, Vm.state == VmState.running, Vm.removed.is_(None))
    for vm in session.scalars(running):
        if vm.id in busy or vm.network_id in busy:
            continue
        try:
            health = machine_agent(runtime, session, vm).health()
        except (AgentError, CloudError) as error:
            repair = "see its serial log; `rebootSystemVm` or `rebootRouter`"
            yield Finding(vm.kind, vm.id, vm.name, f"its agent does not answer: {error}", repair)
            continue
        if not health.healthy:
            yield Finding(vm.kind, vm.id, vm.name, f"is ill: {health.message}", "read its probes and logs")
        if health.applied != vm.generation:
            problem = f"has document {health.applied}, but the newest is {vm.generation}"
            yield Finding(vm.kind, vm.id, vm.name, problem, "restartNetwork, or wait for the next look")
