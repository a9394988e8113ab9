"""Roles: which commands accounts may call. Those that every cloud has cannot be changed."""

from typing import Annotated, Any

from sqlalchemy import ColumnElement, Select, select

from mgmt.api.access import ADMINS, ROOT, Ref
from mgmt.api.call import Call
from mgmt.api.commands.zones import refuse_if_used
from mgmt.api.lists import Equals, ListCommand
from mgmt.api.params import wrong_value
from mgmt.api.rank import check_rank
from mgmt.api.registry import DONE, Response, Spec, SyncCommand
from mgmt.api.responses.roles import ROLE
from mgmt.api.rights import rights_of_account
from mgmt.api.role_rules import copied_rules, read_rules, replace_rules
from mgmt.model.errors import MissingParameter, ParameterError
from mgmt.model.states import RoleType
from mgmt.store.roles import add_rules, mark_changed
from mgmt.store.tables import Account, Role

TYPE_WORDS = "Admin, DomainAdmin, ResourceAdmin or User"


class ListRoles(ListCommand, kw_only=True, frozen=True):
    """Lists roles."""

    spec = Spec(answer=ROLE, access=ADMINS)
    searched = (Role.name, Role.description)

    name: Annotated[str | None, Equals(Role.name)] = None
    type: Annotated[str | None, TYPE_WORDS, Equals(Role.type)] = None
    state: Annotated[str | None, "enabled or disabled"] = None

    def ownership(self, call: Call) -> ColumnElement[bool] | None:
        """The roles that the caller may give to accounts."""
        return visible_roles(call)

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """Roles of a state."""
        if self.state is None:
            return query
        if self.state.lower() not in ("enabled", "disabled"):
            raise wrong_value("state", self.state, "enabled or disabled")
        return query.where(Role.is_enabled.is_(self.state.lower() == "enabled"))


def visible_roles(call: Call) -> ColumnElement[bool] | None:
    """The condition on roles: root administrators see all, others what they may give out."""
    return None if call.caller.is_root else Role.is_public & (Role.type != RoleType.admin)


class CreateRole(SyncCommand, kw_only=True, frozen=True):
    """Creates a role, empty or with the rules of another one."""

    spec = Spec(answer=ROLE, access=ROOT, event="ROLE.CREATE", governs=True)

    name: str
    type: Annotated[str | None, f"{TYPE_WORDS}; or give roleid"] = None
    roleid: Annotated[str | None, Ref(Role, use=True), "the role to copy type and rules from"] = None
    description: str = ""
    ispublic: Annotated[bool, "false: only root administrators see it and give it to accounts"] = True

    def run(self, call: Call) -> Role:
        """Check and insert."""
        source = call.row_or_none(Role, self.roleid)
        if (source is None) == (self.type is None):
            raise ParameterError("Give either type, for an empty role, or roleid, for a copy of that role")
        kind = read_type("type", self.type or "") if source is None else RoleType(source.type)
        role = _insert(call, Role(name=self.name, type=kind, description=self.description))
        role.is_public = self.ispublic
        if source is not None:
            add_rules(call.session, role, copied_rules(call.session, source))
        return role


class ImportRole(SyncCommand, kw_only=True, frozen=True):
    """Creates a role with its rules, as listRolePermissions shows them."""

    spec = Spec(answer=ROLE, access=ROOT, event="ROLE.IMPORT", governs=True)

    name: str
    rules: Annotated[list[dict[str, str]], "rules[0].rule=list*&rules[0].permission=allow, in their order"]
    type: Annotated[str, TYPE_WORDS]
    description: str = ""
    forced: Annotated[bool, "true: replace the role of this name, if there is one"] = False
    ispublic: Annotated[bool, "false: only root administrators see it and give it to accounts"] = True

    def run(self, call: Call) -> Role:
        """Check every rule, then insert or replace."""
        kind, rules = read_type("type", self.type), read_rules(self.rules)
        role = _named(call, self.name) if self.forced else None
        if role is None:
            role = _insert(call, Role(name=self.name, type=kind))
        else:
            check_changeable(role)
            call.rows[Role, role.id] = role
            check_rank(call, rights_of_account(call.session, call.caller.account))
            _change_type(call, role, kind)
        role.description, role.is_public = self.description, self.ispublic
        replace_rules(call, role, rules)
        return role


class UpdateRole(SyncCommand, kw_only=True, frozen=True):
    """Updates a role."""

    spec = Spec(answer=ROLE, access=ROOT, event="ROLE.UPDATE", governs=True)

    id: Annotated[str, Ref(Role)]
    name: str | None = None
    type: Annotated[str | None, f"{TYPE_WORDS}; only while no account has the role"] = None
    description: str | None = None
    ispublic: Annotated[bool | None, "false: only root administrators see it and give it to accounts"] = None

    def run(self, call: Call) -> Role:
        """Change what was sent."""
        role = call.row(Role, self.id)
        check_changeable(role)
        if self.name and self.name != role.name:
            _check_name(call, self.name)
            role.name = self.name
        if self.type:
            _change_type(call, role, read_type("type", self.type))
        if self.description is not None:
            role.description = self.description
        if self.ispublic is not None:
            role.is_public = self.ispublic
        mark_changed(call.session)
        return role


class DeleteRole(SyncCommand, kw_only=True, frozen=True):
    """Deletes a role that no account has."""

    spec = Spec(access=ROOT, event="ROLE.DELETE", governs=True)

    id: Annotated[str, Ref(Role)]

    def run(self, call: Call) -> Response:
        """Refuse while an account has it."""
        role = call.row(Role, self.id)
        check_changeable(role)
        item, advice = f"Role {role.name}", "give them another one first (updateAccount roleid=…)"
        refuse_if_used(call.session, Account, Account.role_id == role.id, item, "accounts", advice)
        replace_rules(call, role, [])
        role.removed = call.now()
        return DONE


class EnableRole(SyncCommand, kw_only=True, frozen=True):
    """Enables a role."""

    spec = Spec(access=ROOT, event="ROLE.ENABLE", governs=True)

    id: Annotated[str, Ref(Role)]

    def run(self, call: Call) -> Response:
        """Its rules count again."""
        return _switch(call, self.id, enabled=True)


class DisableRole(SyncCommand, kw_only=True, frozen=True):
    """Disables a role: its accounts may call nothing."""

    spec = Spec(access=ROOT, event="ROLE.DISABLE", governs=True)

    id: Annotated[str, Ref(Role)]

    def run(self, call: Call) -> Response:
        """Its accounts keep it, and nothing is allowed by it."""
        return _switch(call, self.id, enabled=False)


def _switch(call: Call, role_id: str, *, enabled: bool) -> Response:
    role = call.row(Role, role_id)
    check_changeable(role)
    role.is_enabled = enabled
    mark_changed(call.session)
    return DONE


def check_changeable(role: Role) -> None:
    """Raise `ParameterError` for a role that every cloud has."""
    if role.is_default:
        text = (
            f"Role {role.name} is a default role and stays as it is; copy it by createRole roleid={role.id}"
        )
        raise ParameterError(text)


def read_type(name: str, text: str) -> RoleType:
    """The type of a role. Raises `MissingParameter`, `ParameterError`."""
    if not text:
        raise MissingParameter(f"Parameter {name} is empty; give {TYPE_WORDS}")
    found = {kind.lower(): kind for kind in RoleType}.get(text.lower())
    if found is None:
        raise wrong_value(name, text, TYPE_WORDS)
    return found


def _change_type(call: Call, role: Role, kind: RoleType) -> None:
    if kind != role.type:
        item, advice = f"Role {role.name}", "its type changes only while no account has it"
        refuse_if_used(call.session, Account, Account.role_id == role.id, item, "accounts", advice)
        role.type = kind


def _insert(call: Call, role: Role) -> Role:
    _check_name(call, role.name)
    call.session.add(role)
    call.session.flush()
    mark_changed(call.session)
    return role


def _check_name(call: Call, name: str) -> None:
    if _named(call, name) is not None:
        raise ParameterError(f"A role {name} exists already; choose another name")


def _named(call: Call, name: str) -> Any:
    return call.session.scalar(select(Role).where(Role.name == name, Role.removed.is_(None)))
