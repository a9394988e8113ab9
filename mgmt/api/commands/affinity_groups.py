"""Affinity groups: VMs that belong on one host or on different ones."""

from collections.abc import Sequence
from typing import Annotated, Any

from sqlalchemy import Select, delete, select

from mgmt.alloc.affinity import TYPES
from mgmt.alloc.counted import NOT_COUNTED
from mgmt.api import user_vms
from mgmt.api.access import EVERYONE, Ref
from mgmt.api.call import Call
from mgmt.api.lists import Equals, OwnedListCommand, PlainListCommand
from mgmt.api.ownership import OwnerAccount, OwnerDomain, OwnerProject
from mgmt.api.params import wrong_value
from mgmt.api.registry import AsyncCommand, Response, Spec
from mgmt.api.responses.affinity_groups import AFFINITY_GROUP, AffinityGroupTypeResponse
from mgmt.api.responses.virtual_machines import VIRTUAL_MACHINE
from mgmt.api.user_vms import must_be, user_vm
from mgmt.model.errors import InUse, ParameterError
from mgmt.model.states import VmState
from mgmt.store.tables import AffinityGroup, AffinityMember, Job, Vm

KIND = "AffinityGroup"


class ListAffinityGroups(OwnedListCommand, kw_only=True, frozen=True):
    """Lists affinity groups."""

    spec = Spec(answer=AFFINITY_GROUP, access=EVERYONE)
    searched = (AffinityGroup.name, AffinityGroup.description, AffinityGroup.type)

    name: Annotated[str | None, Equals(AffinityGroup.name)] = None
    type: Annotated[str | None, "the type of the group", Equals(AffinityGroup.type)] = None
    virtualmachineid: Annotated[str | None, Ref(Vm), "list only the groups of this VM"] = None

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """Those that a VM is in."""
        if self.virtualmachineid is None:
            return query
        own = select(AffinityMember.group_id).where(AffinityMember.vm_id == self.virtualmachineid)
        return query.where(AffinityGroup.id.in_(own))


class ListAffinityGroupTypes(PlainListCommand, kw_only=True, frozen=True):
    """Lists the types of affinity groups."""

    spec = Spec(answer=AffinityGroupTypeResponse, access=EVERYONE, key="affinityGroupType")

    def items(self, call: Call) -> Sequence[Response]:
        """They are a fixed set."""
        return [AffinityGroupTypeResponse(type=name) for name in TYPES]


class CreateAffinityGroup(AsyncCommand, kw_only=True, frozen=True):
    """Creates an affinity group."""

    spec = Spec(answer=AFFINITY_GROUP, access=EVERYONE, event="AFFINITY.GROUP.CREATE")
    creates = True

    name: str
    type: Annotated[str, f"one of: {', '.join(TYPES)}"]
    description: str = ""
    account: OwnerAccount = None
    domainid: OwnerDomain = None
    projectid: OwnerProject = None

    def run(self, call: Call) -> Job:
        """Insert it; there is nothing to do on hosts."""
        if self.type not in TYPES:
            raise wrong_value("type", self.type, f"one of {', '.join(TYPES)}")
        if call.session.scalar(_named(call, [self.name])) is not None:
            raise ParameterError(f"An affinity group named {self.name} exists already; choose another name")
        row = AffinityGroup(
            account_id=call.owner.account.id,
            domain_id=call.owner.domain.id,
            name=self.name,
            description=self.description,
            type=self.type,
        )
        call.session.add(row)
        return call.finish(kind=KIND, about=row)


class DeleteAffinityGroup(AsyncCommand, kw_only=True, frozen=True):
    """Deletes an affinity group that no VM is in."""

    spec = Spec(access=EVERYONE, event="AFFINITY.GROUP.DELETE")

    id: Annotated[str | None, Ref(AffinityGroup)] = None
    name: Annotated[str | None, "the name, instead of the id"] = None
    account: OwnerAccount = None
    domainid: OwnerDomain = None
    projectid: OwnerProject = None

    def run(self, call: Call) -> Job:
        """Remove it, unless it is in use."""
        if (self.id is None) == (self.name is None):
            raise ParameterError("Send either id or name of the affinity group")
        row = call.row_or_none(AffinityGroup, self.id) or _by_name(call, [str(self.name)])[0]
        query = (
            select(Vm.name)
            .join(AffinityMember, AffinityMember.vm_id == Vm.id)
            .where(AffinityMember.group_id == row.id, Vm.removed.is_(None), Vm.state.not_in(NOT_COUNTED))
        )
        if vm := call.session.scalar(query.limit(1)):
            raise InUse(f"Affinity group {row.name} has VM {vm}; take it out with updateVMAffinityGroup")
        row.removed = call.now()
        return call.finish(kind=KIND, about=row)


class UpdateVMAffinityGroup(AsyncCommand, kw_only=True, frozen=True):
    """Says which affinity groups a stopped virtual machine is in, instead of those it was in."""

    spec = Spec(
        answer=VIRTUAL_MACHINE,
        access=EVERYONE,
        event="VM.AFFINITY.GROUP.UPDATE",
        envelope="updatevirtualmachineresponse",
    )

    id: Annotated[str, Ref(Vm), "the ID of the virtual machine"]
    affinitygroupids: Annotated[list[str] | None, Ref(AffinityGroup), "the groups; none to leave all"] = None
    affinitygroupnames: Annotated[list[str] | None, "names of the groups, instead of affinitygroupids"] = None

    def run(self, call: Call) -> Job:
        """Only a stopped one: a running one has its host."""
        vm = user_vm(call, self.id)
        must_be(vm, "put into other groups", VmState.stopped)
        groups = wanted_groups(call, vm.account_id, self.affinitygroupids, self.affinitygroupnames)
        call.session.execute(delete(AffinityMember).where(AffinityMember.vm_id == vm.id))
        call.session.add_all(AffinityMember(group_id=group.id, vm_id=vm.id) for group in groups)
        return call.finish(kind=user_vms.KIND, about=vm)


def wanted_groups(
    call: Call, account_id: str, ids: Sequence[str] | None, names: Sequence[str] | None
) -> tuple[AffinityGroup, ...]:
    """The groups of these ids or names, each once. Raises `ParameterError` for another account's."""
    if ids and names:
        raise ParameterError("Send affinitygroupids or affinitygroupnames, not both")
    groups = [call.row(AffinityGroup, group_id) for group_id in ids or []]
    groups += _by_name(call, list(names), account_id) if names else []
    for group in groups:
        if group.account_id != account_id:
            raise ParameterError(f"Affinity group {group.name} belongs to another account than the VM")
    return tuple({group.id: group for group in groups}.values())


def _by_name(call: Call, names: list[str], account_id: str | None = None) -> list[AffinityGroup]:
    found = {group.name: group for group in call.session.scalars(_named(call, names, account_id))}
    missing = [name for name in names if name not in found]
    if missing:
        raise ParameterError(f"There is no affinity group named {missing[0]} in this account")
    return [found[name] for name in names]


def _named(call: Call, names: list[str], account_id: str | None = None) -> Select[AffinityGroup]:
    return select(AffinityGroup).where(
        AffinityGroup.account_id == (account_id or call.owner.account.id),
        AffinityGroup.name.in_(names),
        AffinityGroup.removed.is_(None),
    )
