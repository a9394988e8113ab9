"""Accounts: owners of resources."""

from typing import Annotated, Any

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.orm import Session

from mgmt.api.absent import AccountDetails, CustomId
from mgmt.api.access import ADMINS, EVERYONE, Ref
from mgmt.api.call import Call
from mgmt.api.commands.roles import read_type
from mgmt.api.commands.users import NewUser, add_user
from mgmt.api.dns_names import NetworkDomain, read_network_domain
from mgmt.api.lists import Equals, ListCommand
from mgmt.api.ownership import OWNER, OwnerDomain, in_domain
from mgmt.api.params import NoEffect, Unsupported, wrong_value
from mgmt.api.registry import AsyncCommand, Spec, SyncCommand
from mgmt.api.responses.identity import ACCOUNT
from mgmt.api.sessions import end_sessions
from mgmt.model.errors import MissingParameter, ParameterError, PermissionDenied
from mgmt.model.states import AccountType, DomainState, RoleType
from mgmt.ops import names
from mgmt.ops.tenancy.accounts import refuse_if_needed, remove_account, shut_out
from mgmt.ops.tenancy.belongings import counted
from mgmt.store.roles import ROLE_OF_TYPE
from mgmt.store.tables import Account, Domain, Job, Role, User

ENABLED = "enabled"
DISABLED = "disabled"
LOCKED = "locked"


class ListAccounts(ListCommand, kw_only=True, frozen=True):
    """Lists accounts."""

    spec = Spec(answer=ACCOUNT, access=EVERYONE)
    searched = (Account.name,)

    name: Annotated[str | None, Equals(Account.name)] = None
    accounttype: Annotated[int | None, "0 user, 1 root admin, 2 domain admin", Equals(Account.type)] = None
    state: Annotated[str | None, "enabled, disabled or locked", Equals(Account.state)] = None
    domainid: Annotated[str | None, Ref(Domain, use=True), "list only accounts of this domain"] = None
    listall: bool = False
    isrecursive: bool = False
    roleid: Annotated[str | None, Ref(Role, use=True), "list only accounts of this role"] = None
    rolename: Annotated[str | None, "list only accounts of the role of this name"] = None
    roletype: Annotated[str | None, "Admin, DomainAdmin or User"] = None
    details: Annotated[str | None, NoEffect("everything is shown")] = None
    apikeyaccess: Annotated[str | None, Unsupported("roles say who may call what")] = None
    iscleanuprequired: Annotated[
        bool, Unsupported("the job of deleteAccount says what is left; call deleteAccount again")
    ] = False

    def ownership(self, call: Call) -> ColumnElement[bool] | None:
        """What the caller asked for and may see."""
        return visible_accounts(
            call,
            self.domainid,
            every=self.listall or self.id is not None or self.name is not None,
            recursive=self.isrecursive,
        )

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """Accounts of a role; one without has the default role of its type. Never those of projects."""
        query = query.where(Account.type != AccountType.project)
        if self.roletype is not None:
            query = query.where(Account.type == read_type("roletype", self.roletype).account_type)
        if self.roleid is None and self.rolename is None:
            return query
        roles = select(Role).where(Role.removed.is_(None))
        if self.roleid is not None:
            roles = roles.where(Role.id == self.roleid)
        if self.rolename is not None:
            roles = roles.where(Role.name == self.rolename)
        found = call.session.scalars(roles).all()
        names = {role.name for role in found if role.is_default}
        types = [kind for kind, name in ROLE_OF_TYPE.items() if name in names]
        default = Account.role_id.is_(None) & Account.type.in_(types)
        return query.where(Account.role_id.in_([role.id for role in found]) | default)


def visible_accounts(
    call: Call, domain_id: str | None, *, every: bool, recursive: bool
) -> ColumnElement[bool] | None:
    """The condition on accounts: own one; a domain's or all below the own one for administrators."""
    caller = call.caller
    if not caller.is_admin or not (every or domain_id or recursive):
        return Account.id == caller.account.id
    if domain_id is not None:
        if not caller.covers_domain(call.session, domain_id):
            raise PermissionDenied(f"Domain {domain_id} is not yours to list; leave domainid away")
        return in_domain(call.session, Account.domain_id, domain_id, recursive=recursive)
    if caller.is_root:
        return None
    return in_domain(call.session, Account.domain_id, caller.domain.id, recursive=True)


class CreateAccount(SyncCommand, kw_only=True, frozen=True):
    """Creates an account with its first user."""

    spec = Spec(answer=ACCOUNT, access=ADMINS, event="ACCOUNT.CREATE", governs=True)

    username: Annotated[str, "the name to log in with"]
    password: Annotated[str, "the password of the user"]
    firstname: Annotated[str, "the first name of the user"]
    lastname: Annotated[str, "the last name of the user"]
    email: Annotated[str, "the address of the user"]
    account: Annotated[str | None, "the name of the account; the user's otherwise"] = None
    accounttype: Annotated[
        int | None, "0 user, 1 root admin, 2 domain admin, 3 resource admin; or give roleid"
    ] = None
    roleid: Annotated[str | None, Ref(Role, use=True), "the role of the account; its type's otherwise"] = None
    domainid: Annotated[str | None, Ref(Domain), "the domain of the account; ROOT otherwise"] = None
    timezone: Annotated[str, "the time zone of the user"] = "UTC"
    networkdomain: NetworkDomain = None
    accountid: CustomId = None
    userid: CustomId = None
    accountdetails: AccountDetails = None

    def run(self, call: Call) -> Account:
        """Check and insert; nobody makes an account more powerful than the own one."""
        kind = self._kind(call)
        domain = call.row_or_none(Domain, self.domainid)
        if domain is None:
            domain = call.session.get_one(Domain, call.caller.domain.id)
        refuse_inactive(domain)
        name = self.account or self.username
        _check_name_free(call.session, domain, name)
        account = Account(name=name, domain_id=domain.id, type=kind, role_id=self.roleid)
        account.network_domain = read_network_domain(self.networkdomain)
        call.session.add(account)
        call.session.flush()
        new = NewUser(self.username, self.password, self.firstname, self.lastname, self.email, self.timezone)
        add_user(call.session, account, new)
        return account

    def _kind(self, call: Call) -> AccountType:
        role = call.row_or_none(Role, self.roleid)
        if role is None and self.accounttype is None:
            text = "Unable to execute API command createaccount due to missing parameter accounttype"
            raise MissingParameter(text)
        if self.accounttype is not None and self.accounttype not in EVERYONE:
            raise wrong_value(
                "accounttype", self.accounttype, "0 (user), 1 (root), 2 (domain) or 3 (resource admin)"
            )
        if role is None:
            return AccountType(self.accounttype or 0)
        kind = RoleType(role.type).account_type
        if self.accounttype not in (None, kind):
            raise wrong_value("accounttype", self.accounttype, f"{int(kind)}, the type of role {role.name}")
        return kind


class UpdateAccount(SyncCommand, kw_only=True, frozen=True):
    """Changes an account's name, role, or the DNS domain of its networks."""

    spec = Spec(answer=ACCOUNT, access=ADMINS, event="ACCOUNT.UPDATE", governs=True)

    id: Annotated[str | None, Ref(Account)] = None
    account: Annotated[str | None, OWNER, "the name of the account, instead of its ID"] = None
    domainid: OwnerDomain = None
    newname: Annotated[str | None, "the new name of the account"] = None
    roleid: Annotated[str | None, Ref(Role, use=True), "the new role; the account gets its type"] = None
    networkdomain: NetworkDomain = None
    accountdetails: AccountDetails = None

    def run(self, call: Call) -> Account:
        """Change what was sent."""
        account = pick_account(call, self.id, self.account)
        role = call.row_or_none(Role, self.roleid)
        if role is not None and role.id != account.role_id:
            _refuse_own(call, account, "given another role")
            account.role_id = role.id
            account.type = RoleType(role.type).account_type
        if self.newname and self.newname != account.name:
            domain = call.session.get_one(Domain, account.domain_id)
            _check_name_free(call.session, domain, self.newname)
            account.name = self.newname
        if self.networkdomain is not None:
            account.network_domain = read_network_domain(self.networkdomain)
        return account


class EnableAccount(SyncCommand, kw_only=True, frozen=True):
    """Enables an account."""

    spec = Spec(answer=ACCOUNT, access=ADMINS, event="ACCOUNT.ENABLE", governs=True)

    id: Annotated[str | None, Ref(Account)] = None
    account: Annotated[str | None, OWNER, "the name of the account, instead of its ID"] = None
    domainid: OwnerDomain = None

    def run(self, call: Call) -> Account:
        """Let its users in again."""
        account = pick_account(call, self.id, self.account)
        account.state = ENABLED
        return account


class DisableAccount(AsyncCommand, kw_only=True, frozen=True):
    """Disables or locks an account: its users cannot log in and its keys are refused."""

    spec = Spec(answer=ACCOUNT, access=ADMINS, event="ACCOUNT.DISABLE", governs=True)

    lock: Annotated[bool, "true to lock it; false to disable it"]
    id: Annotated[str | None, Ref(Account)] = None
    account: Annotated[str | None, OWNER, "the name of the account, instead of its ID"] = None
    domainid: OwnerDomain = None

    def run(self, call: Call) -> Job:
        """Shut its users out, the caller's own account excepted."""
        account = pick_account(call, self.id, self.account)
        _refuse_own(call, account, "disabled")
        account.state = LOCKED if self.lock else DISABLED
        end_sessions(
            call.session, *call.session.scalars(select(User.id).where(User.account_id == account.id))
        )
        return call.finish(kind="Account", about=account)


class DeleteAccount(AsyncCommand, kw_only=True, frozen=True):
    """Deletes an account with all that it owns, for good: VMs, disks, networks, images, keys, users."""

    spec = Spec(access=ADMINS, event="ACCOUNT.DELETE", governs=True)

    id: Annotated[str, Ref(Account)]

    def run(self, call: Call) -> Job:
        """Its users are shut out from now on; one that owns nothing goes at once."""
        account = call.row(Account, self.id)
        _refuse_own(call, account, "deleted")
        refuse_if_needed(call.session, account)
        shut_out(call.session, [account])
        if counted(call.session, account.id):
            return call.submit(
                names.DELETE_ACCOUNT, {"account_id": account.id}, kind="Account", about=account
            )
        remove_account(call.session, account)
        return call.finish(kind="Account", about=account)


def refuse_inactive(domain: Domain) -> None:
    """Raise ParameterError for a domain that is being deleted."""
    if domain.state != DomainState.active:
        raise ParameterError(f"Domain {domain.name} is being deleted; choose another domain")


def pick_account(call: Call, account_id: str | None, name: str | None) -> Account:
    """The account named by its id or by name and domain, in this transaction. Raises `MissingParameter`."""
    if account_id is not None:
        return call.row(Account, account_id)
    if name is None:
        text = f"Unable to execute API command {call.command.lower()} due to missing parameter id"
        raise MissingParameter(text)
    return call.session.get_one(Account, call.owner.account.id)


def _refuse_own(call: Call, account: Account, word: str) -> None:
    if account.id == call.caller.account.id:
        raise ParameterError(f"Account {account.name} is your own; it cannot be {word}")


def _check_name_free(session: Session, domain: Domain, name: str) -> None:
    taken = select(Account.id).where(
        Account.domain_id == domain.id, Account.name == name, Account.removed.is_(None)
    )
    if session.scalar(taken):
        raise ParameterError(f"Domain {domain.name} already has an account {name}; choose another name")
