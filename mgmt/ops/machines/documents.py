"""Documents of system VMs: compiled from one snapshot, numbered, pushed, many changes by one push.

A change of rows raises `vm.generation` of the system VM it concerns, in its own transaction (`touch_*`).
A push carries everything that is committed at that moment, so whoever waited for the lock meanwhile finds
`vm.applied` at his own generation already and has nothing left to do.
"""

from dataclasses import dataclass
from ipaddress import IPv4Network

from sqlalchemy import ColumnElement, Row, bindparam, func, select, update
from sqlalchemy.orm import Session

from mgmt.agents.errors import AgentConflict, AgentFailed, AgentRefused, AgentUnreachable
from mgmt.agents.machine import MachineAgent
from mgmt.desired.console import ConsoleKeys, compile_console
from mgmt.desired.router import compile_router
from mgmt.desired.storage import StorageKeys, Template, compile_storage
from mgmt.model.states import AccountType, RuleState, SnapshotState, TemplateState, VmKind, VmState
from mgmt.ops.endpoints import machine_agent
from mgmt.ops.machines.document_inputs import links_of, machine_input, router_input
from mgmt.ops.runtime import Runtime
from mgmt.ops.storage.kept_volumes import volumes_kept
from mgmt.pki import tickets
from mgmt.pki.authority import Authority, host_name
from mgmt.store import tables
from mgmt.store.tables import Account, Host, Vm, Zone
from systemvm.spec.appliances import HostEndpoint
from systemvm.spec.state import State
from systemvm.spec.ticket import TicketPurpose

#: Snapshots that the storage VM is to have.
LISTED = (SnapshotState.creating, SnapshotState.backing_up, SnapshotState.backed_up)
#: Bytes of the largest disk that the storage VM keeps a copy of; tickets say what one copy may have.
LARGEST_COPY = 1 << 42
#: Seconds within which a copy between zones must have begun.
COPY_LIFE = 24 * 3600
#: How often, and with how many seconds between, a busy agent is asked again.
_BUSY_TRIES, _BUSY_SECONDS = 60, 2.0
#: The same for one that does not answer: the loop starts a dead machine again meanwhile.
_SILENT_TRIES, _SILENT_SECONDS = 30, 5.0
_ROUTER = select(Vm.id, Vm.state, Vm.generation, Vm.applied).where(
    Vm.kind == VmKind.router, Vm.network_id == bindparam("network_id"), Vm.removed.is_(None)
)
_TOUCH_ROUTER = (
    update(Vm)
    .where(Vm.kind == VmKind.router, Vm.network_id == bindparam("of_network"), Vm.removed.is_(None))
    .values(generation=Vm.generation + 1)
    .returning(Vm.generation)
)


@dataclass(frozen=True)
class _Draft:
    state: State
    agent: MachineAgent
    pending: int


def touch_router(session: Session, network_id: str) -> int:
    """Note that a network's router needs another document; its new generation, 0 if there is no router."""
    session.flush()
    options = {"synchronize_session": False}
    touched = session.scalars(_TOUCH_ROUTER, {"of_network": network_id}, execution_options=options).first()
    return touched or 0


def touch_zone(session: Session, zone_id: str, kind: VmKind) -> int:
    """Note that the zone's console proxy, storage VM or routers need another document."""
    return _touch(session, Vm.kind == kind, Vm.zone_id == zone_id)


def zone_resolvers(zone: Zone) -> tuple[str, ...]:
    """DNS servers that a zone's console proxy and storage VM ask: the internal ones, then those of guests."""
    servers = (zone.internal_dns1, zone.internal_dns2, zone.dns1, zone.dns2)
    return tuple(dict.fromkeys(server for server in servers if server))


def find_router(session: Session, network_id: str) -> Vm | None:
    """The router of a network."""
    return session.scalar(
        select(Vm).where(Vm.kind == VmKind.router, Vm.network_id == network_id, Vm.removed.is_(None))
    )


def push_router(
    runtime: Runtime, network_id: str, generation: int = 0, own: frozenset[str] = frozenset()
) -> None:
    """Bring a network's router up to date; nothing to do while it is not running.

    `generation` is that of the caller's change, `own` the ids of the rules in state Add that it is about.
    Raises AgentError with the router's words if it refuses.
    """
    router = _look_at_router(runtime, network_id)
    if router is not None and router.state == VmState.running:
        push_machine(runtime, router.id, generation, own)


def push_noted(runtime: Runtime, network_id: str) -> None:
    """See that a network's router has all that was noted for it up to now; nothing to do if it has.

    Raises AgentError with the router's words if it refuses.
    """
    router = _look_at_router(runtime, network_id)
    if router is not None and router.state == VmState.running and router.applied < router.generation:
        push_machine(runtime, router.id, router.generation)


def _look_at_router(runtime: Runtime, network_id: str) -> Row[str, str, int, int] | None:
    with runtime.database.reading() as session:
        return session.execute(_ROUTER, {"network_id": network_id}).first()


def push_machine(
    runtime: Runtime,
    vm_id: str,
    generation: int = 0,
    own: frozenset[str] = frozenset(),
    *,
    silent_tries: int = _SILENT_TRIES,
) -> None:
    """Bring a system VM up to date, if it has not had `generation` yet (0: in any case).

    A document that is refused because of somebody else's new rule is sent again without it. An agent that
    does not answer is asked `silent_tries` times; then raises AgentUnreachable.
    """
    with runtime.locks.hold(f"document:{vm_id}"):
        if generation and _applied(runtime, vm_id) >= generation:
            return
        draft = _draft(runtime, vm_id, None, counts=bool(own))
        try:
            _put(runtime, vm_id, draft, silent_tries=silent_tries)
        except (AgentRefused, AgentFailed):
            if not own or draft.pending <= len(own):
                raise
            _raise_generation(runtime, vm_id)
            _put(runtime, vm_id, _draft(runtime, vm_id, own), own, silent_tries=silent_tries)
            # The others' rules are still to be tried, by those who wait for their turn.
            _raise_generation(runtime, vm_id)


def _put(
    runtime: Runtime,
    vm_id: str,
    draft: _Draft,
    pending: frozenset[str] | None = None,
    *,
    silent_tries: int,
) -> None:
    busy = silent = 0
    while True:
        try:
            draft.agent.put_state(draft.state)
            break
        except AgentConflict:
            busy += 1
            if busy == _BUSY_TRIES:
                raise
            # Busy with another document, or it has this number with other content: a new number helps.
            runtime.sleep(_BUSY_SECONDS if busy > 1 else 0.1)
            _raise_generation(runtime, vm_id)
        except AgentUnreachable:
            silent += 1
            if silent == silent_tries:
                raise
            runtime.wake.set()
            runtime.sleep(_SILENT_SECONDS)
        draft = _draft(runtime, vm_id, pending)
    with runtime.database.writing() as session:
        vm = session.get_one(Vm, vm_id)
        vm.applied = max(vm.applied, draft.state.generation)
        vm.healthy = True


def _draft(runtime: Runtime, vm_id: str, pending: frozenset[str] | None, *, counts: bool = False) -> _Draft:
    """What is to be pushed; with `counts` also how many rules in it are pending."""
    with runtime.database.reading() as session:
        vm = session.get_one(Vm, vm_id)
        state = compile_document(runtime, session, vm, pending)
        has_rules = counts and vm.kind == VmKind.router
        pending_rules = _count_pending(session, vm.network_id or "") if has_rules else 0
        return _Draft(state, machine_agent(runtime, session, vm), pending_rules)


def compile_document(
    runtime: Runtime, session: Session, vm: Vm, pending: frozenset[str] | None = None
) -> State:
    """The document of a system VM, with the generation that its row has."""
    if vm.kind == VmKind.router:
        return compile_router(router_input(session, runtime.seal, vm, pending))
    links, resolvers = links_of(session, vm.id), zone_resolvers(session.get_one(Zone, vm.zone_id))
    authority = runtime.authority
    public = next((link.address for link in links if link.purpose == "public" and link.address), "")
    if vm.kind == VmKind.storage:
        shown = [address for address in (vm.management_address, public) if address]
        own = authority.machine_service(vm.id, "storage", shown)
        keys = StorageKeys(certificate=own.certificate, key=own.key, ticket_key=authority.ticket_public_key)
        return compile_storage(
            machine_input(vm),
            links,
            keys,
            [*_templates(session, vm, authority), *volumes_kept(session, vm.zone_id)],
            _public_networks(session, vm.zone_id),
            resolvers,
        )
    own, client = authority.machine_service(vm.id, "console", [public]), authority.console_client()
    console = ConsoleKeys(
        certificate=own.certificate,
        key=own.key,
        ticket_key=authority.ticket_public_key,
        client_certificate=client.certificate,
        client_key=client.key,
        server_ca=authority.server_ca,
    )
    return compile_console(machine_input(vm), links, console, _relays(session, vm.zone_id), resolvers)


def _templates(session: Session, vm: Vm, authority: Authority) -> list[Template]:
    table = tables.Template
    original = tables.Snapshot
    query = (
        select(table, Account.type, original.id)
        .join(Account, Account.id == table.account_id)
        .outerjoin(original, original.id == table.source_id)
        .where(table.zone_id == vm.zone_id, table.removed.is_(None), table.state != TemplateState.deleted)
    )
    snapshots = select(original.id).where(
        original.zone_id == vm.zone_id, original.removed.is_(None), original.state.in_(LISTED)
    )
    kept = [
        Template(id=snapshot_id, url="", format="qcow2", max_bytes=LARGEST_COPY)
        for snapshot_id in session.scalars(snapshots)
    ]
    return kept + [
        Template(
            id=template.id,
            url=_url_of(template, authority),
            format=template.format,
            checksum=template.checksum,
            authorities=authority.server_ca if template.copied_from else "",
            is_trusted=template.state == TemplateState.downloading
            and (kind == AccountType.root_admin or template.copied_from is not None),
            copy_of=snapshot_id,
            max_bytes=LARGEST_COPY if template.source_id else 0,
        )
        for template, kind, snapshot_id in session.execute(query)
    ]


def _url_of(template: tables.Template, authority: Authority) -> str:
    """Where the storage VM gets it; the same whenever it is asked, tickets included."""
    if template.copied_from is None:
        return template.url
    token = tickets.sign(
        authority.ticket_key,
        TicketPurpose.download,
        template.copied_from,
        template.created.timestamp(),
        nonce=template.id,
        life=COPY_LIFE,
    )
    return f"{template.url}/v1/downloads/{token}/{template.copied_from}.{template.format.lower()}"


def _public_networks(session: Session, zone_id: str) -> list[str]:
    """The cloud's own public networks: what is there is open to guests anyway."""
    table = tables.VlanRange
    ranges = session.scalars(select(table).where(table.zone_id == zone_id, table.removed.is_(None)))
    return [str(IPv4Network(f"{each.gateway}/{each.netmask}", strict=False)) for each in ranges]


def _relays(session: Session, zone_id: str) -> list[HostEndpoint]:
    hosts = session.scalars(select(Host).where(Host.zone_id == zone_id, Host.removed.is_(None)))
    return [
        HostEndpoint(host=host.id, name=host_name(host.id), address=host.address, port=host.relay_port)
        for host in hosts
    ]


def _count_pending(session: Session, network_id: str) -> int:
    kinds = (tables.FirewallRule, tables.EgressRule, tables.PortForwardingRule, tables.BalancerRule)
    return sum(
        session.scalar(
            select(func.count()).where(
                table.network_id == network_id, table.removed.is_(None), table.state == RuleState.add
            )
        )
        or 0
        for table in kinds
    )


def _applied(runtime: Runtime, vm_id: str) -> int:
    with runtime.database.reading() as session:
        return session.scalars(select(Vm.applied).where(Vm.id == vm_id)).one()


def _raise_generation(runtime: Runtime, vm_id: str) -> None:
    with runtime.database.writing() as session:
        session.get_one(Vm, vm_id).generation += 1


def _touch(session: Session, *conditions: ColumnElement[bool]) -> int:
    where = (*conditions, Vm.removed.is_(None))
    session.flush()
    touched = session.scalars(
        update(Vm).where(*where).values(generation=Vm.generation + 1).returning(Vm.generation),
        execution_options={"synchronize_session": False},
    ).all()
    return touched[0] if touched else 0
