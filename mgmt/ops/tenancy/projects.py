"""The end of a project: all that it owns, then its members, then itself."""

from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from mgmt.alloc.counted import PROJECT_ADMIN
from mgmt.alloc.limits import release
from mgmt.model.resources import ResourceType
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga
from mgmt.ops.tenancy import belongings
from mgmt.store.tables import (
    Account,
    Project,
    ProjectInvitation,
    ProjectMember,
    ProjectRole,
    ProjectRolePermission,
)
from mgmt.store.tables.base import now

#: What is known by the project's id.
OF_PROJECT: tuple[Any, ...] = (ProjectRole, ProjectRolePermission, ProjectInvitation)


def delete_project(runtime: Runtime, saga: Saga, *, project_id: str, cleanup: bool = False) -> None:
    """Remove a project that owns nothing; with `cleanup` remove first what it owns, for good.

    What is removed stays removed if a later part cannot be; the project is there then, and can be deleted
    again.
    """
    with runtime.locks.hold(f"project:{project_id}"):
        account_id: str = saga.step("look at the project", lambda: _account_of(runtime, project_id))
        if cleanup:
            belongings.remove_all(runtime, saga, account_id)
        saga.step("remove the project", lambda: _remove_rows(runtime, project_id))


def _account_of(runtime: Runtime, project_id: str) -> str:
    with runtime.database.reading() as session:
        return session.get_one(Project, project_id).account_id


def _remove_rows(runtime: Runtime, project_id: str) -> None:
    with runtime.database.writing() as session:
        project = session.get_one(Project, project_id)
        if project.removed is not None:
            return
        refuse_while_it_owns(session, project)
        moment = now()
        for member in members_of(session, project_id):
            remove_member(session, member)
        for table in OF_PROJECT:
            live = update(table).where(table.project_id == project_id, table.removed.is_(None))
            session.execute(live.values(removed=moment))
        belongings.remove_rows(session, project.account_id, moment)
        project.removed = moment
        session.get_one(Account, project.account_id).removed = moment


def refuse_while_it_owns(session: Session, project: Project) -> None:
    """Raise InUse, with what it is, if a project owns anything that is not a mere row."""
    advice = "send cleanup=true, or delete them first"
    belongings.refuse_while_it_owns(session, project.account_id, f"project {project.name}", advice)


def members_of(session: Session, project_id: str) -> list[ProjectMember]:
    """The members of a project, the first one first."""
    query = select(ProjectMember).where(
        ProjectMember.project_id == project_id, ProjectMember.removed.is_(None)
    )
    return list(session.scalars(query.order_by(ProjectMember.created, ProjectMember.id)))


def memberships_of(session: Session, account_id: str, user_id: str | None = None) -> list[ProjectMember]:
    """The memberships of an account and its users, or of one user."""
    query = select(ProjectMember).where(
        ProjectMember.account_id == account_id, ProjectMember.removed.is_(None)
    )
    if user_id is not None:
        query = query.where(ProjectMember.user_id == user_id)
    return list(session.scalars(query.order_by(ProjectMember.created, ProjectMember.id)))


def administered_alone(session: Session, account_id: str) -> list[Project]:
    """The projects that would have no administrator without this account."""
    ids = {each.project_id for each in memberships_of(session, account_id) if each.role == PROJECT_ADMIN}
    others = select(ProjectMember.project_id).where(
        ProjectMember.project_id.in_(ids),
        ProjectMember.account_id != account_id,
        ProjectMember.role == PROJECT_ADMIN,
        ProjectMember.removed.is_(None),
    )
    alone = ids - set(session.scalars(others))
    return list(session.scalars(select(Project).where(Project.id.in_(alone)).order_by(Project.name)))


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
