"""Rules of roles: checked, copied, put in order."""

import re
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.api.call import Call
from mgmt.api.params import wrong_value
from mgmt.model.errors import MissingParameter, ParameterError
from mgmt.store.roles import ALLOW, DENY, add_rules, mark_changed
from mgmt.store.tables import Role, RolePermission

RULE = re.compile(r"[A-Za-z0-9*]{1,255}")
MOST_RULES = 2000
"""CloudStack has 917 commands; a role that names each with both permissions is within."""


def rules_of(session: Session, role: Role) -> Sequence[RolePermission]:
    """The rules of a role in their order."""
    query = select(RolePermission).where(RolePermission.role_id == role.id, RolePermission.removed.is_(None))
    return session.scalars(query.order_by(RolePermission.position, RolePermission.id)).all()


def copied_rules(session: Session, role: Role) -> list[tuple[str, str, str]]:
    """The rules of a role as `add_rules` takes them."""
    return [(row.permission, row.rule, row.description) for row in rules_of(session, role)]


def check_rule(name: str, rule: str) -> str:
    """The rule, if it is one. Raises `ParameterError`."""
    if not RULE.fullmatch(rule):
        raise wrong_value(name, rule, "the name of a command, with * for any characters")
    return rule


def read_permission(name: str, text: str) -> str:
    """`allow` or `deny`, however it is spelled. Raises `ParameterError`."""
    if text.lower() not in (ALLOW, DENY):
        raise wrong_value(name, text, "allow or deny")
    return text.lower()


def read_rules(items: list[dict[str, str]]) -> list[tuple[str, str, str]]:
    """Rules of a request as `add_rules` takes them. Raises `MissingParameter`, `ParameterError`."""
    rules: dict[str, tuple[str, str, str]] = {}
    for at, item in enumerate(items):
        for key in ("rule", "permission"):
            if not item.get(key):
                raise MissingParameter(f"rules[{at}].{key} is missing; each rule has a rule and a permission")
        rule = check_rule(f"rules[{at}].rule", item["rule"])
        if rule.lower() in rules:
            raise ParameterError(f"rules[{at}] repeats the rule {rule}; only the first could ever count")
        permission = read_permission(f"rules[{at}].permission", item["permission"])
        rules[rule.lower()] = (permission, rule, item.get("description", ""))
    return list(rules.values())


def replace_rules(call: Call, role: Role, rules: list[tuple[str, str, str]]) -> None:
    """Give a role these rules instead of those it has."""
    if len(rules) > MOST_RULES:
        raise ParameterError(f"{len(rules)} rules are too many: a role has at most {MOST_RULES}")
    for row in rules_of(call.session, role):
        row.removed = call.now()
    call.session.flush()
    add_rules(call.session, role, rules)
    mark_changed(call.session)
