"""Roles in the database: those that every cloud has, and the mark that tells servers of a change.

Source of the names and of the read-only rules: CloudStack's own default roles. They cannot be changed, so
that nobody locks the administrators out.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.model.states import AccountType, RoleType
from mgmt.store.tables import Role, RolePermission, Setting
from mgmt.store.tables.base import new_id

ALLOW = "allow"
DENY = "deny"
VERSION = "roles.version"
EVERYTHING = ((ALLOW, "*"),)
READING = (
    (ALLOW, "list*"),
    (DENY, "getUploadParamsFor*"),
    (DENY, "getUserKeys"),
    (ALLOW, "get*"),
    (ALLOW, "queryAsyncJobResult"),
    (ALLOW, "setupUserTwoFactorAuthentication"),
    (ALLOW, "validateUserTwoFactorAuthenticationCode"),
    (DENY, "*"),
)
"""CloudStack's rules without its plugins; and who only reads may not read secret keys either."""

DEFAULTS: tuple[tuple[str, RoleType, str, tuple[tuple[str, str], ...]], ...] = (
    ("Root Admin", RoleType.admin, "Default root admin role", EVERYTHING),
    ("Domain Admin", RoleType.domain_admin, "Default domain admin role", EVERYTHING),
    ("Resource Admin", RoleType.resource_admin, "Default resource admin role", EVERYTHING),
    ("User", RoleType.user, "Default user role", EVERYTHING),
    ("Read-Only Admin - Default", RoleType.admin, "Default read-only admin role", READING),
    ("Read-Only User - Default", RoleType.user, "Default read-only user role", READING),
)
ROLE_OF_TYPE: dict[int, str] = {
    AccountType.root_admin: "Root Admin",
    AccountType.domain_admin: "Domain Admin",
    AccountType.resource_admin: "Resource Admin",
    AccountType.user: "User",
}
"""The role of an account that was given none."""


def add_default_roles(session: Session) -> None:
    """Add the default roles that were never there."""
    there = set(session.scalars(select(Role.name).where(Role.is_default)))
    for name, kind, description, rules in DEFAULTS:
        if name in there:
            continue
        role = Role(name=name, description=description, type=kind, is_default=True)
        session.add(role)
        session.flush()
        add_rules(session, role, [(permission, rule, "") for permission, rule in rules])
        mark_changed(session)


def add_rules(session: Session, role: Role, rules: list[tuple[str, str, str]]) -> None:
    """Add rules (permission, rule, description) to a role that has none yet, in this order."""
    for position, (permission, rule, description) in enumerate(rules):
        session.add(
            RolePermission(
                role_id=role.id, rule=rule, permission=permission, description=description, position=position
            )
        )


def mark_changed(session: Session) -> None:
    """Let every management server read the roles again: the mark comes along with each caller."""
    session.merge(Setting(name=VERSION, value=new_id()))
