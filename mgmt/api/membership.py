"""What somebody is in a project: member or not, administrator or not, and which commands that allows.

A user's own membership goes before the account's. The rules of the member's project role are tried in their
order; the first that matches a command decides, and where none does, the account's own role is enough.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from sqlalchemy import ColumnElement, and_, or_, select, true
from sqlalchemy.orm import Session

from mgmt.model.projects import InvitationState, MemberRole, ProjectState
from mgmt.store.roles import ALLOW
from mgmt.store.tables import Project, ProjectInvitation, ProjectMember, ProjectRolePermission, User


@dataclass(frozen=True)
class Membership:
    """A user in a project. `rules` are (pattern, permission) in their order."""

    state: str
    is_admin: bool
    rules: tuple[tuple[str, str], ...]

    def allows(self, command: str, *, changes: bool) -> bool:
        """Whether the member may call a command on what is the project's."""
        if changes and self.state != ProjectState.active:
            return False
        name = command.lower()
        matching = (permission for rule, permission in self.rules if fnmatchcase(name, rule.lower()))
        return self.is_admin or next(matching, ALLOW) == ALLOW


def find_membership(session: Session, user: User, account_id: str | None) -> Membership | None:
    """What the user is in the project whose account this is; None for no member. One statement."""
    return _memberships(session, user, Project.account_id == account_id).get(account_id or "")


def open_projects(session: Session, user: User, command: str) -> list[str]:
    """Ids of the accounts of all projects in which the user may call a command that reads. One statement."""
    found = _memberships(session, user, true())
    return [account_id for account_id, member in found.items() if member.allows(command, changes=False)]


def _memberships(session: Session, user: User, which: ColumnElement[bool]) -> dict[str, Membership]:
    """What the user is in projects, by the ids of their accounts."""
    query = (
        select(
            Project.account_id,
            Project.state,
            ProjectMember.id,
            ProjectMember.role,
            ProjectRolePermission.rule,
            ProjectRolePermission.permission,
        )
        .join(ProjectMember, ProjectMember.project_id == Project.id)
        .outerjoin(
            ProjectRolePermission,
            and_(
                ProjectRolePermission.project_role_id == ProjectMember.project_role_id,
                ProjectRolePermission.removed.is_(None),
            ),
        )
        .where(which, Project.removed.is_(None), is_member(user))
        .order_by(ProjectMember.user_id.is_(None), ProjectMember.id, ProjectRolePermission.position)
    )
    found: dict[str, Membership] = {}
    members: dict[str, str] = {}
    for account_id, state, member_id, role, rule, permission in session.execute(query):
        # The first membership counts: the user's own goes before the account's.
        if members.setdefault(account_id, member_id) != member_id:
            continue
        before = found.get(account_id)
        rules = (*(before.rules if before else ()), *(((rule, permission),) if rule is not None else ()))
        found[account_id] = Membership(state, role == MemberRole.admin, rules)
    return found


def is_invited(session: Session, user: User, project_id: str) -> bool:
    """Whether an invitation of the user, or of the user's account, waits for an answer."""
    query = select(ProjectInvitation.id).where(
        ProjectInvitation.project_id == project_id,
        ProjectInvitation.account_id == user.account_id,
        or_(ProjectInvitation.user_id.is_(None), ProjectInvitation.user_id == user.id),
        ProjectInvitation.state == InvitationState.pending,
        ProjectInvitation.removed.is_(None),
    )
    return session.scalar(query.limit(1)) is not None


def share_project(session: Session, user: User, other: User) -> bool:
    """Whether two users are in one project."""
    query = select(ProjectMember.id).where(is_member(other), ProjectMember.project_id.in_(projects_of(user)))
    return session.scalar(query.limit(1)) is not None


def is_member(user: User) -> ColumnElement[bool]:
    """The condition on members: it is the user, or the user's whole account."""
    return and_(
        ProjectMember.removed.is_(None),
        ProjectMember.account_id == user.account_id,
        or_(ProjectMember.user_id.is_(None), ProjectMember.user_id == user.id),
    )


def projects_of(user: User) -> Any:
    """A subquery: ids of the projects that the user is a member of."""
    return select(ProjectMember.project_id).where(is_member(user))


def project_accounts_of(user: User) -> Any:
    """A subquery: ids of the accounts of the projects that the user is a member of."""
    return select(Project.account_id).where(Project.id.in_(projects_of(user)), Project.removed.is_(None))
