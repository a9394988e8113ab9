"""Projects: resources that several accounts share. Members and invitations have modules of their own."""

from typing import Annotated, Any

from msgspec import Meta
from sqlalchemy import ColumnElement, or_, select, true

from mgmt.api.access import EVERYONE, Ref
from mgmt.api.call import Call
from mgmt.api.lists import Equals, OwnedListCommand
from mgmt.api.membership import projects_of
from mgmt.api.ownership import OWNER, OwnerAccount, OwnerDomain, in_domain
from mgmt.api.params import NoEffect, wrong_value
from mgmt.api.project_members import (
    account_named,
    add_member,
    find_member,
    read_role,
    set_role,
)
from mgmt.api.registry import AsyncCommand, Spec
from mgmt.api.responses.projects import PROJECT
from mgmt.model.configuration.projects import USERS_MAKE_PROJECTS
from mgmt.model.errors import ParameterError, PermissionDenied
from mgmt.model.projects import MemberRole, ProjectState
from mgmt.model.states import AccountType
from mgmt.ops import names
from mgmt.ops.tenancy.projects import members_of, refuse_while_it_owns
from mgmt.store.configured import configured
from mgmt.store.tables import Account, Domain, Job, Project, ProjectMember, User
from mgmt.store.tables.base import new_id

KIND = "Project"
LONGEST_NAME = 200
"""The project's account is called after it, and a bit longer."""


class ListProjects(OwnedListCommand, kw_only=True, frozen=True):
    """Lists projects: those that the caller is in; with listall those that an administrator covers too."""

    spec = Spec(answer=PROJECT, access=EVERYONE)
    searched = (Project.name, Project.display_text)
    tag_type = "Project"

    name: Annotated[str | None, Equals(Project.name)] = None
    displaytext: Annotated[str | None, "list only projects with this text", Equals(Project.display_text)] = (
        None
    )
    state: Annotated[str | None, "Active or Suspended", Equals(Project.state)] = None
    account: Annotated[str | None, OWNER, "list only projects that this account is in"] = None
    domainid: Annotated[str | None, Ref(Domain, use=True), "list only projects of this domain"] = None
    username: Annotated[str | None, "list only projects that the user of this name is in"] = None
    details: Annotated[str | None, NoEffect("everything is shown")] = None

    def ownership(self, call: Call) -> ColumnElement[bool] | None:
        """By membership; by domain for administrators."""
        caller, domain_id = call.caller, self.domainid
        mine: ColumnElement[bool] = Project.id.in_(projects_of(caller.user))
        if self.username is not None:
            mine = mine & Project.id.in_(_projects_of_name(self.username))
        if self.account is not None:
            theirs = select(ProjectMember.project_id).where(
                ProjectMember.account_id == call.owner.account.id, ProjectMember.removed.is_(None)
            )
            return Project.id.in_(theirs)
        if self.id is not None or self.ids is not None:
            return true()
        if domain_id is not None and caller.covers_domain(call.session, domain_id):
            return in_domain(call.session, Project.domain_id, domain_id, recursive=self.isrecursive)
        if not self.listall or not caller.is_admin:
            return mine if domain_id is None else mine & (Project.domain_id == domain_id)
        if caller.is_root:
            return None
        return or_(mine, in_domain(call.session, Project.domain_id, caller.domain.id, recursive=True))


def _projects_of_name(username: str) -> Any:
    users = select(User.id).where(User.username == username, User.removed.is_(None))
    return select(ProjectMember.project_id).where(
        ProjectMember.user_id.in_(users), ProjectMember.removed.is_(None)
    )


class CreateProject(AsyncCommand, kw_only=True, frozen=True):
    """Creates a project; the account that it is for administers it."""

    spec = Spec(answer=PROJECT, access=EVERYONE, event="PROJECT.CREATE")
    creates = True

    name: Annotated[str, "the name of the project", Meta(min_length=1, max_length=LONGEST_NAME)]
    displaytext: str | None = None
    account: OwnerAccount = None
    domainid: OwnerDomain = None
    userid: Annotated[str | None, Ref(User), "the one user of the account that administers it"] = None

    def run(self, call: Call) -> Job:
        """Check and insert, with the account that will own what the project has."""
        if not call.caller.is_admin and not configured(call.session, USERS_MAKE_PROJECTS):
            raise PermissionDenied("Only administrators create projects here (allow.user.create.projects)")
        owner, domain = call.owner.account, call.owner.domain
        user = call.row_or_none(User, self.userid)
        if user is not None and user.account_id != owner.id:
            raise wrong_value("userid", user.username, f"a user of account {owner.name}")
        check_name(call, domain, self.name)
        project_id = new_id()
        account = Account(
            name=f"PrjAcct-{self.name}-{project_id[:8]}", domain_id=domain.id, type=AccountType.project
        )
        call.session.add(account)
        call.session.flush()
        project = Project(
            id=project_id,
            name=self.name,
            display_text=self.displaytext or self.name,
            domain_id=domain.id,
            account_id=account.id,
        )
        call.session.add(project)
        call.session.flush()
        add_member(call, project, owner, user, MemberRole.admin, None)
        return call.finish(kind=KIND, about=project)


class UpdateProject(AsyncCommand, kw_only=True, frozen=True):
    """Updates a project's name and text, and who of its members administers it."""

    spec = Spec(answer=PROJECT, access=EVERYONE, event="PROJECT.UPDATE")

    id: Annotated[str, Ref(Project)]
    name: Annotated[str | None, "the new name", Meta(min_length=1, max_length=LONGEST_NAME)] = None
    displaytext: str | None = None
    account: Annotated[str | None, "the member that gets the role"] = None
    userid: Annotated[str | None, Ref(User, use=True), "the member user that gets the role"] = None
    roletype: Annotated[str | None, "Admin or Regular; with swapowner=false"] = None
    swapowner: Annotated[bool, "true: the member administers it instead of those who do"] = True

    def run(self, call: Call) -> Job:
        """Change what was sent."""
        project = call.row(Project, self.id)
        if self.name and self.name != project.name:
            check_name(call, call.session.get_one(Domain, project.domain_id), self.name)
            project.name = self.name
        project.display_text = self.displaytext or project.display_text
        member = self._member(call, project)
        if member is not None:
            self._give_role(call, project, member)
        return call.finish(kind=KIND, about=project)

    def _member(self, call: Call, project: Project) -> ProjectMember | None:
        if self.account is None and self.userid is None:
            return None
        if self.userid is not None:
            user = call.row(User, self.userid)
            member, name = find_member(call, project, user.account_id, user.id), user.username
        else:
            account = account_named(call, project, str(self.account))
            member, name = find_member(call, project, account.id), account.name
        if member is None:
            raise ParameterError(f"{name} is no member of project {project.name}; add it first")
        return member

    def _give_role(self, call: Call, project: Project, member: ProjectMember) -> None:
        if self.swapowner:
            set_role(call, project, member, MemberRole.admin)
            others = [other for other in members_of(call.session, project.id) if other.id != member.id]
            for other in others:
                set_role(call, project, other, MemberRole.regular)
            return
        role = read_role(self.roletype)
        admins = [each for each in members_of(call.session, project.id) if each.role == MemberRole.admin]
        if role is MemberRole.regular and admins == [member]:
            raise ParameterError(
                f"Project {project.name} would have no administrator; make another one first"
            )
        set_role(call, project, member, role)


class ActivateProject(AsyncCommand, kw_only=True, frozen=True):
    """Activates a suspended project."""

    spec = Spec(answer=PROJECT, access=EVERYONE, event="PROJECT.ACTIVATE", envelope="activaterojectresponse")

    id: Annotated[str, Ref(Project)]

    def run(self, call: Call) -> Job:
        """An active one stays as it is."""
        project = call.row(Project, self.id)
        project.state = ProjectState.active
        return call.finish(kind=KIND, about=project)


class SuspendProject(AsyncCommand, kw_only=True, frozen=True):
    """Suspends a project: its members see what it owns and change nothing; VMs go on running."""

    spec = Spec(answer=PROJECT, access=EVERYONE, event="PROJECT.SUSPEND")

    id: Annotated[str, Ref(Project)]

    def run(self, call: Call) -> Job:
        """A suspended one stays as it is."""
        project = call.row(Project, self.id)
        project.state = ProjectState.suspended
        return call.finish(kind=KIND, about=project)


class DeleteProject(AsyncCommand, kw_only=True, frozen=True):
    """Deletes a project; with cleanup everything that it owns, for good."""

    spec = Spec(access=EVERYONE, event="PROJECT.DELETE")

    id: Annotated[str, Ref(Project)]
    cleanup: Annotated[bool, "true: delete its VMs, volumes, networks and templates first"] = False

    def run(self, call: Call) -> Job:
        """It is suspended from now on, so that nothing new comes in meanwhile."""
        project = call.row(Project, self.id)
        if not self.cleanup:
            refuse_while_it_owns(call.session, project)
        project.state = ProjectState.suspended
        arguments = {"project_id": project.id, "cleanup": self.cleanup}
        return call.submit(names.DELETE_PROJECT, arguments, kind=KIND, about=project)


def check_name(call: Call, domain: Domain, name: str) -> None:
    """Raise `ParameterError` if the domain has a project of that name."""
    taken = select(Project.id).where(
        Project.domain_id == domain.id, Project.name == name, Project.removed.is_(None)
    )
    if call.session.scalar(taken):
        raise ParameterError(f"Domain {domain.name} already has a project {name}; choose another name")
