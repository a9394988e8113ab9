"""The rules of project roles, in the order in which they are tried."""

from collections.abc import Sequence
from typing import Annotated, Any

from sqlalchemy import select

from mgmt.api.access import EVERYONE, Ref
from mgmt.api.call import Call
from mgmt.api.commands.project_roles import own_role
from mgmt.api.lists import Equals, ListCommand
from mgmt.api.params import wrong_value
from mgmt.api.registry import DONE, Response, Spec, SyncCommand
from mgmt.api.responses.projects import PROJECT_ROLE_PERMISSION
from mgmt.api.role_rules import MOST_RULES, check_rule, read_permission
from mgmt.model.errors import ParameterError
from mgmt.store.tables import Project, ProjectRole, ProjectRolePermission

Which = Annotated[str, Ref(Project), "the ID of the project whose role it is"]


class ListProjectRolePermissions(ListCommand, kw_only=True, frozen=True):
    """Lists the rules of a project's roles in their order."""

    spec = Spec(answer=PROJECT_ROLE_PERMISSION, access=EVERYONE)
    searched = (ProjectRolePermission.rule, ProjectRolePermission.description)

    projectid: Annotated[str, Ref(Project, use=True), Equals(ProjectRolePermission.project_id)]
    projectroleid: Annotated[
        str | None,
        Ref(ProjectRole, use=True),
        "list only rules of this role",
        Equals(ProjectRolePermission.project_role_id),
    ] = None

    def order(self) -> tuple[Any, ...]:
        """Role by role, as the rules are tried."""
        table = ProjectRolePermission
        return (table.project_role_id, table.position, table.id)


class CreateProjectRolePermission(SyncCommand, kw_only=True, frozen=True):
    """Adds a rule to a project role, behind those it has."""

    spec = Spec(answer=PROJECT_ROLE_PERMISSION, access=EVERYONE, event="PROJECT.ROLE.PERMISSION.CREATE")

    projectid: Which
    projectroleid: Annotated[str, Ref(ProjectRole), "the ID of the role"]
    rule: Annotated[str, "the name of a command, or a pattern as list*"]
    permission: Annotated[str, "allow or deny"]
    description: str = ""

    def run(self, call: Call) -> ProjectRolePermission:
        """Check and insert."""
        role = own_role(call, call.row(Project, self.projectid), self.projectroleid)
        rule, permission = check_rule("rule", self.rule), read_permission("permission", self.permission)
        there = rules_of(call, role)
        if any(row.rule.lower() == rule.lower() for row in there):
            raise ParameterError(f"Project role {role.name} has a rule {rule} already; change that one")
        if len(there) >= MOST_RULES:
            raise ParameterError(f"Project role {role.name} has {len(there)} rules, which is the most")
        row = ProjectRolePermission(
            project_id=role.project_id,
            project_role_id=role.id,
            rule=rule,
            permission=permission,
            description=self.description,
            position=there[-1].position + 1 if there else 0,
        )
        call.session.add(row)
        return row


class UpdateProjectRolePermission(SyncCommand, kw_only=True, frozen=True):
    """Changes the permission of one rule, or the order of all rules of a project role."""

    spec = Spec(access=EVERYONE, event="PROJECT.ROLE.PERMISSION.UPDATE")

    projectid: Which
    projectroleid: Annotated[str, Ref(ProjectRole), "the ID of the role"]
    projectrolepermissionid: Annotated[
        str | None, Ref(ProjectRolePermission), "the ID of one rule; together with permission"
    ] = None
    permission: Annotated[str | None, "allow or deny; together with projectrolepermissionid"] = None
    ruleorder: Annotated[
        list[str] | None, Ref(ProjectRolePermission), "the IDs of all rules in their new order"
    ] = None

    def run(self, call: Call) -> Response:
        """Do one or the other."""
        role = own_role(call, call.row(Project, self.projectid), self.projectroleid)
        rows = {row.id: row for row in rules_of(call, role)}
        rule_id, order = self.projectrolepermissionid, self.ruleorder
        if (rule_id is None) != (self.permission is None) or (rule_id is None) == (order is None):
            raise ParameterError("Send either ruleorder, or projectrolepermissionid and permission")
        if order is not None:
            if sorted(order) != sorted(rows):
                raise wrong_value(
                    "ruleorder", ",".join(order), f"the IDs of all {len(rows)} rules of the role, each once"
                )
            for position, row_id in enumerate(order):
                rows[row_id].position = position
        elif rule_id is not None:
            if rule_id not in rows:
                raise wrong_value("projectrolepermissionid", rule_id, f"the ID of a rule of {role.name}")
            rows[rule_id].permission = read_permission("permission", str(self.permission))
        return DONE


class DeleteProjectRolePermission(SyncCommand, kw_only=True, frozen=True):
    """Deletes a rule of a project role."""

    spec = Spec(access=EVERYONE, event="PROJECT.ROLE.PERMISSION.DELETE")

    projectid: Which
    id: Annotated[str, Ref(ProjectRolePermission)]

    def run(self, call: Call) -> Response:
        """Remove the rule."""
        row = call.row(ProjectRolePermission, self.id)
        if row.project_id != self.projectid:
            raise wrong_value("id", row.id, "the ID of a rule of that project")
        row.removed = call.now()
        return DONE


def rules_of(call: Call, role: ProjectRole) -> Sequence[ProjectRolePermission]:
    """The rules of a project role in their order."""
    table = ProjectRolePermission
    query = select(table).where(table.project_role_id == role.id, table.removed.is_(None))
    return call.session.scalars(query.order_by(table.position, table.id)).all()
