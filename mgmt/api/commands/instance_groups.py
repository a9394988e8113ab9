"""Instance groups: names that VMs are shown under."""

from typing import Annotated

from sqlalchemy import update

from mgmt.api.access import EVERYONE, Ref
from mgmt.api.call import Call
from mgmt.api.lists import Equals, OwnedListCommand
from mgmt.api.ownership import OwnerAccount, OwnerDomain, OwnerProject
from mgmt.api.registry import DONE, Response, Spec, SyncCommand
from mgmt.api.responses.instance_groups import INSTANCE_GROUP
from mgmt.model.errors import ParameterError
from mgmt.ops.compute.instance_groups import find_group
from mgmt.store.tables import InstanceGroup, Vm


class ListInstanceGroups(OwnedListCommand, kw_only=True, frozen=True):
    """Lists instance groups."""

    spec = Spec(answer=INSTANCE_GROUP, access=EVERYONE)
    searched = (InstanceGroup.name,)

    name: Annotated[str | None, Equals(InstanceGroup.name)] = None


class CreateInstanceGroup(SyncCommand, kw_only=True, frozen=True):
    """Creates an instance group."""

    spec = Spec(answer=INSTANCE_GROUP, access=EVERYONE, event="VM.GROUP.CREATE")

    name: str
    account: OwnerAccount = None
    domainid: OwnerDomain = None
    projectid: OwnerProject = None

    def run(self, call: Call) -> InstanceGroup:
        """Insert it."""
        _check_free(call, call.owner.account.id, self.name)
        row = InstanceGroup(account_id=call.owner.account.id, domain_id=call.owner.domain.id, name=self.name)
        call.session.add(row)
        return row


class UpdateInstanceGroup(SyncCommand, kw_only=True, frozen=True):
    """Renames an instance group."""

    spec = Spec(answer=INSTANCE_GROUP, access=EVERYONE, event="VM.GROUP.UPDATE")

    id: Annotated[str, Ref(InstanceGroup)]
    name: str | None = None

    def run(self, call: Call) -> InstanceGroup:
        """Change the name, if it is another one."""
        row = call.row(InstanceGroup, self.id)
        if self.name and self.name != row.name:
            _check_free(call, row.account_id, self.name)
            row.name = self.name
        return row


class DeleteInstanceGroup(SyncCommand, kw_only=True, frozen=True):
    """Deletes an instance group; its VMs stay, without a group."""

    spec = Spec(access=EVERYONE, event="VM.GROUP.DELETE")

    id: Annotated[str, Ref(InstanceGroup)]

    def run(self, call: Call) -> Response:
        """Let its VMs go."""
        row = call.row(InstanceGroup, self.id)
        call.session.execute(update(Vm).where(Vm.group_id == row.id).values(group_id=None))
        row.removed = call.now()
        return DONE


def _check_free(call: Call, account_id: str, name: str) -> None:
    if find_group(call.session, account_id, name) is not None:
        raise ParameterError(f"An instance group named {name} exists already; choose another name")
