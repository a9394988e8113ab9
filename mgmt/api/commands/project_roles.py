"""Roles of a project: what members who have one may call there."""

from typing import Annotated, Any

from sqlalchemy import select

from mgmt.api.access import EVERYONE, Ref
from mgmt.api.call import Call
from mgmt.api.lists import Equals, ListCommand
from mgmt.api.project_members import project_role
from mgmt.api.registry import DONE, Response, Spec, SyncCommand
from mgmt.api.responses.projects import PROJECT_ROLE
from mgmt.model.errors import InUse, ParameterError
from mgmt.store.tables import Project, ProjectMember, ProjectRole, ProjectRolePermission

Which = Annotated[str, Ref(Project), "the ID of the project whose role it is"]


class ListProjectRoles(ListCommand, kw_only=True, frozen=True):
    """Lists the roles of a project."""

    spec = Spec(answer=PROJECT_ROLE, access=EVERYONE)
    searched = (ProjectRole.name, ProjectRole.description)

    projectid: Annotated[str, Ref(Project, use=True), Equals(ProjectRole.project_id)]
    projectroleid: Annotated[
        str | None, Ref(ProjectRole, use=True), "list only this role", Equals(ProjectRole.id)
    ] = None
    name: Annotated[str | None, Equals(ProjectRole.name)] = None


class CreateProjectRole(SyncCommand, kw_only=True, frozen=True):
    """Creates a role without rules: its members may call everything, until it has some."""

    spec = Spec(answer=PROJECT_ROLE, access=EVERYONE, event="PROJECT.ROLE.CREATE")

    projectid: Which
    name: str
    description: str = ""

    def run(self, call: Call) -> ProjectRole:
        """Check and insert."""
        project = call.row(Project, self.projectid)
        _check_name(call, project, self.name)
        row = ProjectRole(project_id=project.id, name=self.name, description=self.description)
        call.session.add(row)
        return row


class UpdateProjectRole(SyncCommand, kw_only=True, frozen=True):
    """Updates a role's name and description."""

    spec = Spec(answer=PROJECT_ROLE, access=EVERYONE, event="PROJECT.ROLE.UPDATE")

    projectid: Which
    id: Annotated[str, Ref(ProjectRole)]
    name: str | None = None
    description: str | None = None

    def run(self, call: Call) -> ProjectRole:
        """Change what was sent."""
        project = call.row(Project, self.projectid)
        role = own_role(call, project, self.id)
        if self.name and self.name != role.name:
            _check_name(call, project, self.name)
            role.name = self.name
        if self.description is not None:
            role.description = self.description
        return role


class DeleteProjectRole(SyncCommand, kw_only=True, frozen=True):
    """Deletes a role that no member has."""

    spec = Spec(access=EVERYONE, event="PROJECT.ROLE.DELETE")

    projectid: Which
    id: Annotated[str, Ref(ProjectRole)]

    def run(self, call: Call) -> Response:
        """Refuse while a member has it: without, the member could call more."""
        role = own_role(call, call.row(Project, self.projectid), self.id)
        query = select(ProjectMember.id).where(
            ProjectMember.project_role_id == role.id, ProjectMember.removed.is_(None)
        )
        if call.session.scalar(query.limit(1)):
            raise InUse(f"Project role {role.name} is still a member's; remove these members first")
        rules = select(ProjectRolePermission).where(
            ProjectRolePermission.project_role_id == role.id, ProjectRolePermission.removed.is_(None)
        )
        for rule in call.session.scalars(rules):
            rule.removed = call.now()
        role.removed = call.now()
        return DONE


def own_role(call: Call, project: Project, role_id: str) -> ProjectRole:
    """The role, which must be the project's. Raises `ParameterError`."""
    role: Any = project_role(call, project, role_id)
    assert isinstance(role, ProjectRole)  # noqa: S101 (only no id gives no role)
    return role


def _check_name(call: Call, project: Project, name: str) -> None:
    taken = select(ProjectRole.id).where(
        ProjectRole.project_id == project.id, ProjectRole.name == name, ProjectRole.removed.is_(None)
    )
    if call.session.scalar(taken):
        raise ParameterError(f"Project {project.name} already has a role {name}; choose another name")
