"""Accounts with roles of their own, for tests of who may call what."""

from typing import Any

from sqlalchemy import select

from mgmt.api.testing import Api, Client
from mgmt.store.tables import Account, Role, User


def make_role(admin: Client, name: str, *rules: str, kind: str = "Admin") -> str:
    """A role with rules as `allow list*`; its id."""
    if not rules:
        return str(admin.get("createRole", name=name, type=kind)["role"]["id"])
    form = {}
    for at, text in enumerate(rules):
        form[f"rules[{at}].permission"], form[f"rules[{at}].rule"] = text.split()
    return str(admin.get("importRole", name=name, type=kind, **form)["role"]["id"])


def rules_of(client: Client, role: str) -> list[dict[str, Any]]:
    return list(client.get("listRolePermissions", roleid=role).get("rolepermission", []))


def hire(api: Api, admin: Client, name: str, *rules: str, kind: str = "Admin", domain: str = "/") -> Client:
    """A new account whose role has just these rules; the client of its user."""
    role = make_role(admin, f"role of {name}", *rules, kind=kind)
    type_of = {"User": 0, "Admin": 1, "DomainAdmin": 2, "ResourceAdmin": 3}
    client = api.account(name, kind=type_of[kind], domain=domain)
    with api.context.database.writing() as session:
        session.scalars(select(Account).where(Account.name == name)).one().role_id = role
    return client


def ids(api: Api) -> dict[str, str]:
    """Ids of users (`user admin`), accounts (`account admin`) and roles (`role User`)."""
    with api.context.database.reading() as session:
        found = {f"user {row.username}": row.id for row in session.scalars(select(User))}
        found |= {f"account {row.name}": row.id for row in session.scalars(select(Account))}
        return found | {f"role {row.name}": row.id for row in session.scalars(select(Role))}


def can(client: Client, command: str) -> bool:
    """Whether the role allows the command; a signed call of another one is refused as a wrong key is."""
    answer = client(command)
    assert answer.status in (200, 401, 431), answer.error
    return answer.status != 401
