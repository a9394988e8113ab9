"""Invitations to projects: an account or a user becomes a member by accepting one, in time."""

from datetime import datetime, timedelta

from sqlalchemy import select, update

from mgmt.api.call import Call
from mgmt.api.project_members import add_member, find_member
from mgmt.model.configuration.projects import INVITATION_SECONDS
from mgmt.model.errors import ParameterError
from mgmt.model.projects import InvitationState, MemberRole
from mgmt.store.configured import configured
from mgmt.store.tables import Account, Project, ProjectInvitation, User


def invite(
    call: Call, project: Project, account: Account, user: User | None, role: MemberRole, role_id: str | None
) -> ProjectInvitation:
    """Ask an account or a user into a project. Raises `ParameterError` for a member, or if it was asked."""
    user_id = user.id if user else None
    who = f"User {user.username}" if user else f"Account {account.name}"
    if find_member(call, project, account.id, user_id) is not None:
        raise ParameterError(f"{who} is a member of project {project.name} already")
    if find_pending(call, project.id, account.id, user_id) is not None:
        raise ParameterError(f"{who} is invited to project {project.name} already")
    row = ProjectInvitation(
        project_id=project.id,
        domain_id=project.domain_id,
        account_id=account.id,
        user_id=user_id,
        role=role,
        project_role_id=role_id,
        expires=call.now() + timedelta(seconds=configured(call.session, INVITATION_SECONDS)),
    )
    call.session.add(row)
    call.session.flush()
    return row


def find_pending(
    call: Call, project_id: str, account_id: str, user_id: str | None
) -> ProjectInvitation | None:
    """The invitation that waits for an answer."""
    expire(call, call.now())
    query = select(ProjectInvitation).where(
        ProjectInvitation.project_id == project_id,
        ProjectInvitation.account_id == account_id,
        ProjectInvitation.user_id.is_(None) if user_id is None else ProjectInvitation.user_id == user_id,
        ProjectInvitation.state == InvitationState.pending,
        ProjectInvitation.removed.is_(None),
    )
    return call.session.scalars(query).first()


def expire(call: Call, moment: datetime) -> None:
    """Mark invitations that were not answered in time."""
    call.session.execute(
        update(ProjectInvitation)
        .where(ProjectInvitation.state == InvitationState.pending, ProjectInvitation.expires <= moment)
        .values(state=InvitationState.expired)
    )


def answer(call: Call, invitation: ProjectInvitation, *, accept: bool) -> None:
    """Accept or decline. Raises `ParameterError`, `LimitReached`."""
    invitation.state = InvitationState.completed if accept else InvitationState.declined
    if not accept:
        return
    project = call.session.get_one(Project, invitation.project_id)
    account = call.session.get_one(Account, invitation.account_id)
    user = call.session.get(User, invitation.user_id) if invitation.user_id else None
    add_member(call, project, account, user, MemberRole(invitation.role), invitation.project_role_id)
