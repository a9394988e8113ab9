"""Roles and their permissions on the wire."""

from collections.abc import Sequence

from mgmt.api.call import Call
from mgmt.api.registry import Entity, Response
from mgmt.api.responses.lookup import rows_by_id
from mgmt.store.tables import Role, RolePermission


class RoleResponse(Response):
    """A role; `state` is enabled or disabled."""

    id: str
    name: str
    type: str
    description: str
    isdefault: bool
    ispublic: bool
    state: str


def role_responses(call: Call, rows: Sequence[Role]) -> list[RoleResponse]:
    """Roles on the wire."""
    return [
        RoleResponse(
            id=row.id,
            name=row.name,
            type=row.type,
            description=row.description,
            isdefault=row.is_default,
            ispublic=row.is_public,
            state="enabled" if row.is_enabled else "disabled",
        )
        for row in rows
    ]


ROLE = Entity(Role, RoleResponse, "role", role_responses)


class RolePermissionResponse(Response):
    """A rule of a role: `permission` is allow or deny."""

    id: str
    roleid: str
    rolename: str
    rule: str
    permission: str
    description: str


def permission_responses(call: Call, rows: Sequence[RolePermission]) -> list[RolePermissionResponse]:
    """Rules on the wire."""
    roles = rows_by_id(call, Role, (row.role_id for row in rows))
    return [
        RolePermissionResponse(
            id=row.id,
            roleid=row.role_id,
            rolename=roles[row.role_id].name,
            rule=row.rule,
            permission=row.permission,
            description=row.description,
        )
        for row in rows
    ]


ROLE_PERMISSION = Entity(RolePermission, RolePermissionResponse, "rolepermission", permission_responses)
