"""The rules of a role, in the order in which they are tried."""

from typing import Annotated, Any

from sqlalchemy import ColumnElement, select

from mgmt.api.access import ADMINS, ROOT, Ref
from mgmt.api.call import Call
from mgmt.api.commands.roles import check_changeable, visible_roles
from mgmt.api.lists import Equals, ListCommand
from mgmt.api.registry import DONE, Response, Spec, SyncCommand
from mgmt.api.responses.roles import ROLE_PERMISSION
from mgmt.api.role_rules import MOST_RULES, check_rule, read_permission, rules_of
from mgmt.model.errors import ParameterError
from mgmt.store.roles import mark_changed
from mgmt.store.tables import Role, RolePermission


class ListRolePermissions(ListCommand, kw_only=True, frozen=True):
    """Lists the rules of roles in their order."""

    spec = Spec(answer=ROLE_PERMISSION, access=ADMINS)
    searched = (RolePermission.rule, RolePermission.description)

    id: Annotated[str | None, Ref(RolePermission), "the ID of a rule"] = None
    ids: Annotated[list[str] | None, Ref(RolePermission), "IDs of rules"] = None
    roleid: Annotated[
        str | None, Ref(Role, use=True), "list only rules of this role", Equals(RolePermission.role_id)
    ] = None

    def ownership(self, call: Call) -> ColumnElement[bool] | None:
        """The rules of roles that the caller may see."""
        visible = visible_roles(call)
        return None if visible is None else RolePermission.role_id.in_(select(Role.id).where(visible))

    def order(self) -> tuple[Any, ...]:
        """Role by role, as the rules are tried."""
        return (RolePermission.role_id, RolePermission.position, RolePermission.id)


class CreateRolePermission(SyncCommand, kw_only=True, frozen=True):
    """Adds a rule to a role, behind those it has."""

    spec = Spec(answer=ROLE_PERMISSION, access=ROOT, event="ROLE.PERMISSION.CREATE", governs=True)

    roleid: Annotated[str, Ref(Role), "the ID of the role"]
    rule: Annotated[str, "the name of a command, or a pattern as list*"]
    permission: Annotated[str, "allow or deny"]
    description: str = ""

    def run(self, call: Call) -> RolePermission:
        """Check and insert."""
        role = call.row(Role, self.roleid)
        check_changeable(role)
        rule, permission = check_rule("rule", self.rule), read_permission("permission", self.permission)
        there = rules_of(call.session, role)
        if any(row.rule.lower() == rule.lower() for row in there):
            raise ParameterError(f"Role {role.name} has a rule {rule} already; change that one")
        if len(there) >= MOST_RULES:
            raise ParameterError(f"Role {role.name} has {len(there)} rules; at most {MOST_RULES} are allowed")
        row = RolePermission(
            role_id=role.id,
            rule=rule,
            permission=permission,
            description=self.description,
            position=there[-1].position + 1 if there else 0,
        )
        call.session.add(row)
        mark_changed(call.session)
        return row


class UpdateRolePermission(SyncCommand, kw_only=True, frozen=True):
    """Changes the permission of one rule, or the order of all rules of a role."""

    spec = Spec(access=ROOT, event="ROLE.PERMISSION.UPDATE", governs=True)

    roleid: Annotated[str, Ref(Role), "the ID of the role"]
    ruleorder: Annotated[list[str] | None, Ref(RolePermission), "the IDs of all rules in their new order"] = (
        None
    )
    ruleid: Annotated[str | None, Ref(RolePermission), "the ID of one rule; together with permission"] = None
    permission: Annotated[str | None, "allow or deny; together with ruleid"] = None

    def run(self, call: Call) -> Response:
        """Do one or the other."""
        role = call.row(Role, self.roleid)
        check_changeable(role)
        single = self.ruleid is not None and self.permission is not None
        if single == (self.ruleorder is not None) or (self.ruleid is None) != (self.permission is None):
            raise ParameterError("Give either ruleorder, or ruleid and permission")
        if self.ruleorder is not None:
            self._reorder(call, role, self.ruleorder)
        else:
            row = call.row(RolePermission, str(self.ruleid))
            if row.role_id != role.id:
                raise ParameterError(f"Rule {row.id} ({row.rule}) is not one of role {role.name}")
            row.permission = read_permission("permission", str(self.permission))
        mark_changed(call.session)
        return DONE

    def _reorder(self, call: Call, role: Role, ids: list[str]) -> None:
        rows = {row.id: row for row in rules_of(call.session, role)}
        if sorted(ids) != sorted(rows):
            raise ParameterError(
                f"ruleorder must name each of the {len(rows)} rules of role {role.name} exactly once"
            )
        for position, row_id in enumerate(ids):
            rows[row_id].position = position


class DeleteRolePermission(SyncCommand, kw_only=True, frozen=True):
    """Deletes a rule of a role."""

    spec = Spec(access=ROOT, event="ROLE.PERMISSION.DELETE", governs=True)

    id: Annotated[str, Ref(RolePermission)]

    def run(self, call: Call) -> Response:
        """Remove the rule."""
        row = call.row(RolePermission, self.id)
        check_changeable(call.session.get_one(Role, row.role_id))
        row.removed = call.now()
        mark_changed(call.session)
        return DONE
