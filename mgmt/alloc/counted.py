"""What rows count as: the same rules for counting them one by one and for counting all of them anew.

A VM counts unless it is Destroyed, Expunging or in Error; its volumes count until they are gone. System VMs,
their volumes and addresses are nobody's. A project counts for every account that administers it.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from mgmt.alloc.limits import Amounts, count_all, lock_counts, release_all
from mgmt.alloc.sizes import CPUS, MEMORY, size_of
from mgmt.model.resources import ResourceType
from mgmt.model.states import AddressState, TemplateState, VmKind, VmState
from mgmt.store.tables import (
    Account,
    Domain,
    Network,
    Project,
    ProjectMember,
    PublicAddress,
    ResourceCount,
    ServiceOffering,
    Snapshot,
    Template,
    Vm,
    Volume,
    VolumeExport,
    VolumeUpload,
)

NOT_COUNTED = (VmState.destroyed, VmState.expunging, VmState.error)
PROJECT_ADMIN = "Admin"
#: How many owners are counted by one statement.
AT_ONCE = 200


def amounts_of_vm(session: Session, vm: Vm) -> Amounts:
    """What a tenant's VM takes, without its volumes."""
    size = size_of(vm, session.get_one(ServiceOffering, vm.offering_id))
    return {ResourceType.user_vm: 1, ResourceType.cpu: size.cpus, ResourceType.memory: size.memory}


def amounts_of_volumes(*sizes: int) -> Amounts:
    """What volumes of these bytes take."""
    return {ResourceType.volume: len(sizes), ResourceType.primary_storage: sum(sizes)}


def set_vm_state(session: Session, vm: Vm, state: str) -> None:
    """Change a VM's state; one that is gone or failed gives back what it took, once.

    What comes back is counted whatever the limits say: an undo must not fail (`recover_vm` asks first).
    """
    before, vm.state = vm.state, state
    counted, counts = before not in NOT_COUNTED, state not in NOT_COUNTED
    if vm.kind != VmKind.user or counted == counts:
        return
    change = count_all if counts else release_all
    change(session, session.get_one(Account, vm.account_id), amounts_of_vm(session, vm))


def release_volumes(session: Session, *volumes: Volume) -> None:
    """Give back what volumes of one owner took, as they are removed. Those of system VMs took nothing."""
    if not volumes:
        return
    vm = session.get(Vm, volumes[0].vm_id) if volumes[0].vm_id else None
    if vm is None or vm.kind == VmKind.user:
        account = session.get_one(Account, volumes[0].account_id)
        release_all(session, account, amounts_of_volumes(*(volume.size for volume in volumes)))


def recount(session: Session, account_ids: list[str]) -> dict[str, dict[ResourceType, int]]:
    """What accounts really have, counted from the rows; a fixed number of statements."""
    found: dict[str, dict[ResourceType, int]] = {
        account_id: dict.fromkeys(ResourceType, 0) for account_id in account_ids
    }
    for kinds, query in _queries(account_ids):
        for account_id, *totals in session.execute(query):
            for kind, total in zip(kinds, totals, strict=True):
                found[account_id][kind] += int(total or 0)
    return found


def correct_account(session: Session, account: Account) -> None:
    """Write the counts of an account anew from its rows; those of its domains stay as they are."""
    lock_counts(session, [account.id], ResourceType)
    _write(session, recount(session, [account.id]))


def correct_domain(session: Session, domain: Domain) -> None:
    """Write the counts of a domain, and of all accounts and domains below it, anew from the rows.

    Counts above it stay as they are: they are corrected from there. Nobody counts there meanwhile.
    """
    below = Domain.path.startswith(domain.path, autoescape=True)
    domains = session.scalars(select(Domain).where(below, Domain.removed.is_(None))).all()
    ranked = sorted(domains, key=lambda row: (-row.path.count("/"), row.id))
    query = select(Account.id, Account.domain_id).where(
        Account.domain_id.in_(select(Domain.id).where(below)), Account.removed.is_(None)
    )
    homes = {account_id: home for account_id, home in session.execute(query.order_by(Account.id))}
    totals: dict[str, dict[ResourceType, int]] = {row.path: dict.fromkeys(ResourceType, 0) for row in domains}
    paths = {row.id: row.path for row in domains}
    for some in _parts(list(homes)):
        lock_counts(session, some, ResourceType)
        counts = recount(session, some)
        _write(session, counts)
        for account_id, used in counts.items():
            _add_up(totals, paths[homes[account_id]], used)
    for some in _parts([row.id for row in ranked]):
        lock_counts(session, some, ResourceType)
    _write(session, {row.id: totals[row.path] for row in ranked})


def _parts(ids: list[str]) -> list[list[str]]:
    return [ids[start : start + AT_ONCE] for start in range(0, len(ids), AT_ONCE)]


def _add_up(totals: dict[str, dict[ResourceType, int]], path: str, used: dict[ResourceType, int]) -> None:
    """Add to the domain of this path and to all above it that are counted."""
    names = path.strip("/").split("/")
    above = {"/", *("/" + "/".join(names[:end]) + "/" for end in range(1, len(names) + 1))}
    for one in above & totals.keys():
        for kind, amount in used.items():
            totals[one][kind] += amount


def _write(session: Session, counts: Mapping[str, Mapping[ResourceType, int]]) -> None:
    rows = [
        {"owner_id": owner_id, "type": int(kind), "used": used}
        for owner_id, used_by_kind in counts.items()
        for kind, used in used_by_kind.items()
    ]
    if rows:
        session.execute(update(ResourceCount), rows)


def _queries(account_ids: list[str]) -> list[tuple[tuple[ResourceType, ...], Any]]:
    """Pairs of (what is counted, statement that gives account id and totals)."""
    vms = (
        select(Vm.account_id, func.count(), func.sum(CPUS), func.sum(MEMORY))
        .join(ServiceOffering, ServiceOffering.id == Vm.offering_id)
        .where(Vm.kind == VmKind.user, Vm.state.not_in(NOT_COUNTED))
    )
    volumes = (
        select(Volume.account_id, func.count(), func.sum(Volume.size))
        .outerjoin(Vm, Vm.id == Volume.vm_id)
        .where(or_(Volume.vm_id.is_(None), Vm.kind == VmKind.user))
    )
    addresses = select(PublicAddress.account_id, func.count()).where(
        PublicAddress.state != AddressState.free, PublicAddress.is_system.is_(False)
    )
    projects = (
        select(ProjectMember.account_id, func.count(ProjectMember.project_id.distinct()))
        .join(Project, Project.id == ProjectMember.project_id)
        .where(ProjectMember.role == PROJECT_ADMIN, Project.removed.is_(None))
    )
    kinds = ResourceType
    counted: list[tuple[tuple[ResourceType, ...], Any, Any]] = [
        ((kinds.user_vm, kinds.cpu, kinds.memory), Vm, vms),
        ((kinds.volume, kinds.primary_storage), Volume, volumes),
        ((kinds.public_ip,), PublicAddress, addresses),
        ((kinds.network,), Network, select(Network.account_id, func.count())),
        (
            (kinds.template, kinds.secondary_storage),
            Template,
            select(Template.account_id, func.count(), func.sum(Template.size)).where(
                Template.state != TemplateState.deleted
            ),
        ),
        (
            (kinds.snapshot, kinds.secondary_storage),
            Snapshot,
            select(Snapshot.account_id, func.count(), func.sum(Snapshot.physical_size)).where(
                Snapshot.state != "Error"
            ),
        ),
        (
            (kinds.secondary_storage,),
            Volume,
            select(Volume.account_id, func.sum(VolumeUpload.size)).join(
                VolumeUpload, VolumeUpload.volume_id == Volume.id
            ),
        ),
        (
            (kinds.secondary_storage,),
            VolumeExport,
            select(VolumeExport.account_id, func.sum(VolumeExport.physical_size)),
        ),
        ((kinds.project,), ProjectMember, projects),
    ]
    return [(what, _of(query, table, account_ids)) for what, table, query in counted]


def _of(query: Any, table: Any, account_ids: list[str]) -> Any:
    owned = table.account_id.in_(account_ids)
    return query.where(owned, table.removed.is_(None)).group_by(table.account_id)
