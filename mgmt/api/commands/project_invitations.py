"""Invitations to projects: listed, answered, taken back."""

from typing import Annotated, Any

from sqlalchemy import ColumnElement, Select, or_, select

from mgmt.api.access import EVERYONE, Ref
from mgmt.api.call import Call
from mgmt.api.lists import Equals, ListCommand
from mgmt.api.membership import is_member
from mgmt.api.ownership import OwnerAccount, OwnerDomain, in_domain
from mgmt.api.project_invitations import answer, find_pending
from mgmt.api.registry import AsyncCommand, Spec
from mgmt.api.responses.projects import PROJECT_INVITATION
from mgmt.model.errors import ParameterError
from mgmt.model.projects import InvitationState, MemberRole
from mgmt.store.tables import Job, Project, ProjectInvitation, ProjectMember, User

KIND = "ProjectInvitation"


class ListProjectInvitations(ListCommand, kw_only=True, frozen=True):
    """Lists invitations: the caller's own, and those to projects that the caller administers."""

    spec = Spec(answer=PROJECT_INVITATION, access=EVERYONE)

    projectid: Annotated[str | None, Ref(Project, use=True), Equals(ProjectInvitation.project_id)] = None
    account: OwnerAccount = None
    domainid: OwnerDomain = None
    userid: Annotated[
        str | None, Ref(User, use=True), "list only this user's", Equals(ProjectInvitation.user_id)
    ] = None
    state: Annotated[
        str | None, "Pending, Completed, Expired or Declined", Equals(ProjectInvitation.state)
    ] = None
    activeonly: Annotated[bool, "true: only invitations that can still be accepted"] = False
    listall: bool = False
    isrecursive: bool = False

    def ownership(self, call: Call) -> ColumnElement[bool] | None:
        """Mine, those of my projects; with listall all of my domains for administrators."""
        caller = call.caller
        if self.account is not None:
            return ProjectInvitation.account_id == call.owner.account.id
        mine: ColumnElement[bool] = (ProjectInvitation.account_id == caller.account.id) & or_(
            ProjectInvitation.user_id.is_(None), ProjectInvitation.user_id == caller.user.id
        )
        administered = select(ProjectMember.project_id).where(
            is_member(caller.user), ProjectMember.role == MemberRole.admin
        )
        mine = or_(mine, ProjectInvitation.project_id.in_(administered))
        if not caller.is_admin or not (self.listall or self.id or self.projectid):
            return mine
        if caller.is_root:
            return None
        below = in_domain(call.session, ProjectInvitation.domain_id, caller.domain.id, recursive=True)
        return or_(mine, below)

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """Those that wait and are in time; those of a domain."""
        if self.domainid is not None:
            here = in_domain(
                call.session, ProjectInvitation.domain_id, self.domainid, recursive=self.isrecursive
            )
            query = query.where(here)
        if self.activeonly:
            waits = ProjectInvitation.state == InvitationState.pending
            query = query.where(waits, ProjectInvitation.expires > call.now())
        return query


class UpdateProjectInvitation(AsyncCommand, kw_only=True, frozen=True):
    """Accepts or declines an invitation to a project."""

    spec = Spec(access=EVERYONE, event="PROJECT.INVITATION.UPDATE")

    projectid: Annotated[str, Ref(Project, use=True)]
    account: OwnerAccount = None
    userid: Annotated[str | None, Ref(User), "the invited user, for an invitation of one user"] = None
    accept: Annotated[bool, "false: decline"] = True

    def run(self, call: Call) -> Job:
        """Whoever is invited becomes a member, or not."""
        user = call.row_or_none(User, self.userid)
        account = call.owner.account
        if user is not None and user.account_id != account.id:
            raise ParameterError(f"User {user.username} is no user of account {account.name}")
        found = find_pending(call, self.projectid, account.id, user.id if user else None)
        if found is None:
            raise ParameterError(
                f"Account {account.name} has no pending invitation to project"
                f" {call.row(Project, self.projectid).name}; send userid for an invitation of one user"
            )
        answer(call, found, accept=self.accept)
        return call.finish(kind=KIND, about=found)


class DeleteProjectInvitation(AsyncCommand, kw_only=True, frozen=True):
    """Takes an invitation back."""

    spec = Spec(access=EVERYONE, event="PROJECT.INVITATION.REMOVE")

    id: Annotated[str, Ref(ProjectInvitation)]

    def run(self, call: Call) -> Job:
        """Remove it, in any state."""
        row = call.row(ProjectInvitation, self.id)
        row.removed = call.now()
        return call.finish(kind=KIND, about=row)
