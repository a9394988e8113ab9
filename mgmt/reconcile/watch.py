"""What agents in system VMs tell from time to time: their health, and how far templates are."""

import logging
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import select
from sqlalchemy.orm import Session, load_only

from mgmt.agents.errors import AgentError, AgentUnreachable
from mgmt.agents.machine import MachineAgent
from mgmt.model.errors import CloudError
from mgmt.model.states import TemplateState, VmKind, VmState
from mgmt.ops.compute.states import set_vm
from mgmt.ops.endpoints import HOST_COLUMNS, machine_agent
from mgmt.ops.images.templates import store_status
from mgmt.ops.runtime import Runtime
from mgmt.ops.storage.kept_volumes import PENDING
from mgmt.ops.storage.uploads import store_volume_status
from mgmt.store.tables import Host, Template, Vm, Volume
from systemvm.spec.appliances import TemplateStatus

log = logging.getLogger(__name__)
_VM_COLUMNS = (Vm.name, Vm.host_id, Vm.linklocal_address, Vm.healthy, Vm.applied)


def watch_health(runtime: Runtime, silent: dict[str, int]) -> None:
    """Ask every running system VM whether it works; counts the silent ones."""
    with runtime.database.reading() as session:
        query = select(Vm).where(Vm.kind != VmKind.user, Vm.removed.is_(None), Vm.state == VmState.running)
        vms = session.scalars(query.options(load_only(*_VM_COLUMNS))).all()
        theirs = query.with_only_columns(Vm.host_id)
        hosts = session.scalars(
            select(Host).where(Host.id.in_(theirs)).options(load_only(*HOST_COLUMNS))
        ).all()
        agents = [_agent(runtime, session, vm) for vm in vms]
        del hosts  # held until here, so that each is read once and not for each of its VMs
    with ThreadPoolExecutor(max_workers=8, thread_name_prefix="health") as pool:
        answers = list(pool.map(_health, vms, agents))
    for vm, (is_healthy, reason, applied) in zip(vms, answers, strict=True):
        silent[vm.id] = 0 if applied is not None else silent.get(vm.id, 0) + 1
        if is_healthy != vm.healthy:
            log.warning("%s is %s, because %s", vm.name, "healthy" if is_healthy else "ill", reason)
            set_vm(runtime, vm.id, healthy=is_healthy, reason="" if is_healthy else reason)
        if applied is not None and 0 <= applied < vm.applied:
            log.warning("%s has generation %d, it had %d: pushing again", vm.name, applied, vm.applied)
            set_vm(runtime, vm.id, applied=applied)
    for gone in silent.keys() - {vm.id for vm in vms}:
        del silent[gone]


def watch_templates(runtime: Runtime) -> None:
    """Take over what storage VMs say of templates that are not ready yet, and of all of them once."""
    with runtime.database.reading() as session:
        wanted = select(Template).where(
            Template.removed.is_(None), Template.state == TemplateState.downloading
        )
        volumes = select(Volume.zone_id).where(Volume.removed.is_(None), Volume.state.in_(PENDING))
        zones = {template.zone_id for template in session.scalars(wanted)} | set(session.scalars(volumes))
        query = select(Vm).where(
            Vm.kind == VmKind.storage,
            Vm.removed.is_(None),
            Vm.state == VmState.running,
            Vm.zone_id.in_(zones),
        )
        vms = session.scalars(query).all()
    for vm in vms:
        _take_over(runtime, vm)


def _agent(runtime: Runtime, session: Session, vm: Vm) -> MachineAgent | str:
    """The agent of a machine, or why it has none."""
    try:
        return machine_agent(runtime, session, vm)
    except CloudError as error:
        return str(error)


def _health(vm: Vm, agent: MachineAgent | str) -> tuple[bool, str, int | None]:
    """Healthy or not, the reason, and the generation that the machine has (None: it does not answer)."""
    if isinstance(agent, str):
        return False, agent, -1
    try:
        health = agent.health()
    except AgentUnreachable as error:
        return False, str(error), None
    except (AgentError, CloudError) as error:
        return False, str(error), -1
    if health.activity != "ready":
        return vm.healthy, health.message, -1
    return health.healthy, health.message, health.applied or 0


def _take_over(runtime: Runtime, vm: Vm) -> None:
    try:
        with runtime.database.reading() as session:
            agent = machine_agent(runtime, session, session.get_one(Vm, vm.id))
        statuses = agent.read("storage/templates", list[TemplateStatus])
    except (AgentError, CloudError) as error:
        log.info("the templates of %s are not known at the moment, because %s", vm.name, error)
        return
    with runtime.database.writing() as session:
        pending = select(Volume).where(
            Volume.zone_id == vm.zone_id, Volume.removed.is_(None), Volume.state.in_(PENDING)
        )
        volumes = {volume.id: volume for volume in session.scalars(pending)}
        # A storage VM may keep thousands of snapshots; only what is on its way is looked at.
        fetching = select(Template).where(
            Template.zone_id == vm.zone_id,
            Template.removed.is_(None),
            Template.state == TemplateState.downloading,
        )
        templates = {template.id: template for template in session.scalars(fetching)}
        for status in statuses:
            if status.id in volumes:
                store_volume_status(session, volumes[status.id], status)
                continue
            template = templates.get(status.id)
            if template is None:
                continue
            if store_status(session, template, status) and template.state != TemplateState.downloading:
                log.info("template %s is %s: %s", template.name, template.state, template.reason or "ready")
