"""Bytes that routers have counted, read every few minutes."""

import logging
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import select

from mgmt.agents.errors import AgentError
from mgmt.agents.machine import Traffic
from mgmt.model.errors import CloudError
from mgmt.model.states import VmKind, VmState
from mgmt.ops.endpoints import machine_agent
from mgmt.ops.runtime import Runtime
from mgmt.store.tables import Vm
from mgmt.store.traffic import Counted, add_traffic, last_counters, new_bytes

log = logging.getLogger(__name__)


def watch_traffic(runtime: Runtime) -> None:
    """Ask every running router what it has counted, and add it up."""
    with runtime.database.reading() as session:
        query = select(Vm).where(
            Vm.kind == VmKind.router, Vm.removed.is_(None), Vm.state == VmState.running, Vm.applied > 0
        )
        routers = session.scalars(query).all()
    with ThreadPoolExecutor(max_workers=8, thread_name_prefix="traffic") as pool:
        list(pool.map(lambda router: _take_over(runtime, router), routers))


def _take_over(runtime: Runtime, router: Vm) -> None:
    try:
        with runtime.database.reading() as session:
            agent = machine_agent(runtime, session, session.get_one(Vm, router.id))
        traffic = agent.read("usage", Traffic)
    except (AgentError, CloudError) as error:
        log.info("the bytes of %s are not known at the moment, because %s", router.name, error)
        return
    counted = [Counted(item.address, item.sent_bytes, item.received_bytes) for item in traffic.addresses]
    with runtime.database.reading() as session:
        before = last_counters(session, router.id)
        is_same_start = session.get_one(Vm, router.id).last_start == router.last_start
    fresh = [new_bytes(before.get(item.address), router.last_start, item) for item in counted]
    # Counters of another start than the one asked about are read anew the next time.
    if is_same_start and any(fresh):
        with runtime.database.writing() as session:
            add_traffic(session, router, counted, runtime.now())
