"""User data objects: registered once under a name, used by many VMs."""

import re
from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta
from sqlalchemy import select

from mgmt.alloc.counted import NOT_COUNTED
from mgmt.api.access import EVERYONE, Ref
from mgmt.api.call import Call
from mgmt.api.encoded import LONGEST_USER_DATA, read_user_data
from mgmt.api.lists import Equals, OwnedListCommand
from mgmt.api.ownership import OwnerAccount, OwnerDomain, OwnerProject
from mgmt.api.params import wrong_value
from mgmt.api.registry import DONE, Response, Spec, SyncCommand
from mgmt.api.responses.templates import TEMPLATE
from mgmt.api.responses.user_data import USER_DATA
from mgmt.api.responses.virtual_machines import VIRTUAL_MACHINE
from mgmt.api.user_vms import must_be, user_vm
from mgmt.model.errors import InUse, ParameterError
from mgmt.model.states import VmState
from mgmt.ops.compute.user_data import Policy, UserDataChoice, give_user_data, joined
from mgmt.ops.images.template_zones import spread
from mgmt.store.tables import Template, UserData, Vm

#: What cloud-init's templates can name (`ds.meta_data.<name>`), and no path in the metadata.
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


class ListUserData(OwnedListCommand, kw_only=True, frozen=True):
    """Lists registered user data."""

    spec = Spec(answer=USER_DATA, access=EVERYONE)
    searched = (UserData.name,)

    name: Annotated[str | None, Equals(UserData.name)] = None


class RegisterUserData(SyncCommand, kw_only=True, frozen=True):
    """Registers user data under a name."""

    spec = Spec(answer=USER_DATA, access=EVERYONE, event="REGISTER.USER.DATA")

    name: str
    userdata: Annotated[str, "user data in base64", Meta(max_length=LONGEST_USER_DATA)]
    params: Annotated[list[str] | None, "names of the variables that a VM may set"] = None
    account: OwnerAccount = None
    domainid: OwnerDomain = None
    projectid: OwnerProject = None

    def run(self, call: Call) -> UserData:
        """Check and insert."""
        for name in self.params or []:
            if not _VARIABLE.fullmatch(name):
                raise wrong_value("params", name, "letters, digits and underscores, at most 64")
        account = call.owner.account
        taken = select(UserData.id).where(
            UserData.account_id == account.id, UserData.name == self.name, UserData.removed.is_(None)
        )
        if call.session.scalar(taken) is not None:
            raise ParameterError(f"User data named {self.name} exists already; choose another name")
        row = UserData(
            account_id=account.id,
            domain_id=call.owner.domain.id,
            name=self.name,
            data=read_user_data(self.userdata),
            parameters=list(dict.fromkeys(self.params or [])),
        )
        call.session.add(row)
        return row


class DeleteUserData(SyncCommand, kw_only=True, frozen=True):
    """Deletes registered user data that no VM and no template uses."""

    spec = Spec(access=EVERYONE, event="DELETE.USER.DATA")

    id: Annotated[str, Ref(UserData)]
    account: OwnerAccount = None
    domainid: OwnerDomain = None
    projectid: OwnerProject = None

    def run(self, call: Call) -> Response:
        """Remove it, unless it is in use."""
        row = call.row(UserData, self.id)
        using = select(Vm.name).where(
            Vm.user_data_id == row.id, Vm.removed.is_(None), Vm.state.not_in(NOT_COUNTED)
        )
        if vm := call.session.scalar(using.limit(1)):
            raise InUse(f"User data {row.name} is used by VM {vm}; give it other user data first")
        linked = select(Template.name).where(Template.user_data_id == row.id, Template.removed.is_(None))
        if template := call.session.scalar(linked.limit(1)):
            raise InUse(f"User data {row.name} is linked to template {template}; unlink it first")
        row.removed = call.now()
        return DONE


class ResetUserDataForVirtualMachine(SyncCommand, kw_only=True, frozen=True):
    """Gives a stopped virtual machine other user data, or none."""

    spec = Spec(answer=VIRTUAL_MACHINE, access=EVERYONE, event="VM.RESETUSERDATA", wakes=True)

    id: Annotated[str, Ref(Vm)]
    userdata: Annotated[str | None, "user data in base64", Meta(max_length=LONGEST_USER_DATA)] = None
    userdataid: Annotated[str | None, Ref(UserData), "registered user data, instead"] = None
    userdatadetails: Annotated[dict[str, str] | None, "values of the variables of userdataid"] = None
    account: OwnerAccount = None
    domainid: OwnerDomain = None
    projectid: OwnerProject = None

    def run(self, call: Call) -> Vm:
        """Change the rows; the reconcile loop tells the routers."""
        vm = user_vm(call, self.id)
        must_be(vm, "given other user data", VmState.stopped)
        choice = chosen_user_data(call, vm.account_id, self.userdata, self.userdataid, self.userdatadetails)
        give_user_data(call.session, vm, choice)
        return vm


class LinkUserDataToTemplate(SyncCommand, kw_only=True, frozen=True):
    """Says which user data the VMs of a template get, or with no userdataid that they get none."""

    spec = Spec(answer=TEMPLATE, access=EVERYONE, event="TEMPLATE.UPDATE")

    templateid: Annotated[str | None, Ref(Template)] = None
    isoid: Annotated[str | None, Ref(Template), "the ID of the ISO, instead of templateid"] = None
    userdataid: Annotated[str | None, Ref(UserData), "registered user data"] = None
    userdatapolicy: Annotated[str, f"what if a VM brings its own: {', '.join(Policy)}"] = Policy.allow

    def run(self, call: Call) -> Template:
        """Link it; VMs that exist keep what they have."""
        wanted = self.templateid or self.isoid
        if wanted is None or (self.templateid and self.isoid):
            raise ParameterError("Send either templateid or isoid")
        policy = self.userdatapolicy.upper()
        if policy not in set(Policy):
            raise wrong_value("userdatapolicy", self.userdatapolicy, f"one of {', '.join(Policy)}")
        template, user_data = call.row(Template, wanted), call.row_or_none(UserData, self.userdataid)
        if user_data is not None and user_data.account_id != template.account_id:
            raise ParameterError(f"User data {user_data.name} belongs to another account than the template")
        template.user_data_id = user_data.id if user_data else None
        template.user_data_policy = policy if user_data else None
        spread(call.session, template)
        return template


def deployed_user_data(
    call: Call,
    account_id: str,
    template: Template,
    text: str | None,
    user_data_id: str | None,
    values: Mapping[str, str] | None,
) -> UserDataChoice:
    """What a new VM gets: its own user data, its template's, or both. Raises `ParameterError`."""
    linked = call.session.get(UserData, template.user_data_id) if template.user_data_id else None
    if linked is None or linked.removed is not None:
        return chosen_user_data(call, account_id, text, user_data_id, values)
    given = dict(values or {})
    inherited = {name: given.pop(name) for name in linked.parameters if name in given}
    own = chosen_user_data(call, account_id, text, user_data_id, given)
    if not own.data:
        return UserDataChoice(linked.data, linked.id, inherited)
    if template.user_data_policy == Policy.deny:
        raise ParameterError(
            f"Template {template.name} brings its own user data, which VMs may not override:"
            " leave userdata and userdataid away"
        )
    if template.user_data_policy == Policy.append:
        both = joined(linked.data, own.data)
        if len(both) > LONGEST_USER_DATA:
            raise ParameterError(
                f"The user data and that of template {template.name} have {len(both)} characters together,"
                f" at most {LONGEST_USER_DATA} are allowed"
            )
        return UserDataChoice(both, own.registered_id, {**inherited, **own.values})
    return own


def chosen_user_data(
    call: Call,
    account_id: str,
    text: str | None,
    user_data_id: str | None,
    values: Mapping[str, str] | None,
) -> UserDataChoice:
    """What a command with userdata, userdataid and userdatadetails asks for. Raises `ParameterError`."""
    registered = call.row_or_none(UserData, user_data_id)
    if registered is None:
        if values:
            raise ParameterError("userdatadetails are for the variables of userdataid; send that too")
        return UserDataChoice(read_user_data(text))
    if text:
        raise ParameterError("Send userdata or userdataid, not both")
    if registered.account_id != account_id:
        raise ParameterError(f"User data {registered.name} belongs to another account than the VM")
    unknown = sorted(set(values or {}) - set(registered.parameters))
    if unknown:
        known = ", ".join(registered.parameters) or "none"
        raise ParameterError(
            f"User data {registered.name} has no variable {unknown[0]}; its variables are: {known}"
        )
    return UserDataChoice(registered.data, registered.id, dict(values or {}))
