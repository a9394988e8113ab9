"""The end of a project: all that it owns, then its members, then itself."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.alloc.counted import PROJECT_ADMIN, recount
from mgmt.alloc.limits import release
from mgmt.model.errors import InUse
from mgmt.model.resources import ResourceType
from mgmt.model.states import TemplateState, VmKind
from mgmt.ops.compute import vm_workflows
from mgmt.ops.images import templates
from mgmt.ops.network import networks
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga
from mgmt.ops.storage import snapshots, volumes
from mgmt.store.tables import (
    Account,
    AffinityGroup,
    InstanceGroup,
    Network,
    Project,
    ProjectInvitation,
    ProjectMember,
    ProjectRole,
    ProjectRolePermission,
    Snapshot,
    SnapshotPolicy,
    SshKeyPair,
    Tag,
    Template,
    UserData,
    Vm,
    Volume,
)
from mgmt.store.tables.base import now

#: What a project has besides the things that are on hosts: rows only.
ROWS: tuple[Any, ...] = (SshKeyPair, UserData, InstanceGroup, AffinityGroup, SnapshotPolicy, Tag)
#: What is known by the project's id.
OF_PROJECT: tuple[Any, ...] = (ProjectRole, ProjectRolePermission, ProjectInvitation)


def delete_project(runtime: Runtime, saga: Saga, *, project_id: str, cleanup: bool = False) -> None:
    """Remove a project that owns nothing; with `cleanup` remove first what it owns, for good.

    What is removed stays removed if a later part cannot be; the project is there then, and can be deleted
    again.
    """
    account_id: str = saga.step("look at the project", lambda: _account_of(runtime, project_id))
    if cleanup:
        _remove_all(runtime, saga, account_id)
    saga.step("remove the project", lambda: _remove_rows(runtime, project_id))


def _remove_all(runtime: Runtime, saga: Saga, account_id: str) -> None:
    for vm_id in saga.step("look at its VMs", lambda: _ids(runtime, Vm, account_id)):
        with saga.nested() as inner:
            vm_workflows.destroy_vm(runtime, inner, vm_id=vm_id, expunge=True)
    for volume_id in saga.step("look at its volumes", lambda: _ids(runtime, Volume, account_id)):
        with saga.nested() as inner:
            volumes.delete_volume(runtime, inner, volume_id=volume_id)
    for network_id in saga.step("look at its networks", lambda: _ids(runtime, Network, account_id)):
        with saga.nested() as inner:
            networks.delete(runtime, inner, network_id)
    for snapshot_id in saga.step("look at its snapshots", lambda: _ids(runtime, Snapshot, account_id)):
        with saga.nested() as inner:
            snapshots.delete_snapshot(runtime, inner, snapshot_id=snapshot_id)
    for template_id in saga.step("look at its templates", lambda: _ids(runtime, Template, account_id)):
        with saga.nested() as inner:
            templates.delete_template(runtime, inner, template_id=template_id)


def _account_of(runtime: Runtime, project_id: str) -> str:
    with runtime.database.reading() as session:
        return session.get_one(Project, project_id).account_id


def _ids(runtime: Runtime, table: Any, account_id: str) -> list[str]:
    query = select(table.id).where(table.account_id == account_id, table.removed.is_(None))
    if table is Vm:  # routers go with their networks
        query = query.where(Vm.kind == VmKind.user)
    if table is Volume:
        system = select(Vm.id).where(Vm.kind != VmKind.user)
        query = query.where(Volume.vm_id.is_(None) | Volume.vm_id.not_in(system))
    if table is Template:
        query = query.where(Template.state != TemplateState.deleted)
    with runtime.database.reading() as session:
        return list(session.scalars(query.order_by(table.created, table.id)))


def _remove_rows(runtime: Runtime, project_id: str) -> None:
    with runtime.database.writing() as session:
        project = session.get_one(Project, project_id)
        if project.removed is not None:
            return
        refuse_while_it_owns(session, project)
        moment = now()
        for table in ROWS:
            for row in session.scalars(
                select(table).where(table.account_id == project.account_id, table.removed.is_(None))
            ):
                row.removed = moment
        for member in members_of(session, project_id):
            remove_member(session, member)
        for table in OF_PROJECT:
            for row in session.scalars(
                select(table).where(table.project_id == project_id, table.removed.is_(None))
            ):
                row.removed = moment
        project.removed = moment
        session.get_one(Account, project.account_id).removed = moment


def refuse_while_it_owns(session: Session, project: Project) -> None:
    """Raise InUse, with what it is, if a project owns anything that is not a mere row."""
    owned = recount(session, [project.account_id])[project.account_id]
    kinds = (ResourceType.user_vm, ResourceType.volume, ResourceType.network, ResourceType.public_ip)
    there = [
        f"{owned[kind]} {kind.name.replace('_', ' ')}(s)"
        for kind in (*kinds, ResourceType.template, ResourceType.snapshot)
        if owned[kind]
    ]
    if there:
        raise InUse(
            f"project {project.name} still owns {', '.join(there)}: send cleanup=true, or delete them first"
        )


def members_of(session: Session, project_id: str) -> list[ProjectMember]:
    """The members of a project, the first one first."""
    query = select(ProjectMember).where(
        ProjectMember.project_id == project_id, ProjectMember.removed.is_(None)
    )
    return list(session.scalars(query.order_by(ProjectMember.created, ProjectMember.id)))


def remove_member(session: Session, member: ProjectMember) -> None:
    """Remove a member; whoever administered the project has one less, unless it still does otherwise."""
    member.removed = now()
    session.flush()
    if member.role == PROJECT_ADMIN and not _administers(session, member.account_id, member.project_id):
        release(session, session.get_one(Account, member.account_id), ResourceType.project)


def _administers(session: Session, account_id: str, project_id: str) -> bool:
    query = select(ProjectMember.id).where(
        ProjectMember.project_id == project_id,
        ProjectMember.account_id == account_id,
        ProjectMember.role == PROJECT_ADMIN,
        ProjectMember.removed.is_(None),
    )
    return session.scalar(query.limit(1)) is not None
