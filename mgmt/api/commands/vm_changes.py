"""What a VM is, changed: texts, user data, size, keys, a fresh root disk."""

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta

from mgmt.alloc.counted import amounts_of_vm
from mgmt.alloc.limits import release_all, require, reserve_all
from mgmt.alloc.sizes import CHOICES, choose_size, set_size
from mgmt.api.absent import CustomId, NoGroups, Scaled, Shown
from mgmt.api.access import EVERYONE, Ref
from mgmt.api.call import Call
from mgmt.api.commands.ssh_keys import find_key
from mgmt.api.commands.user_data import chosen_user_data
from mgmt.api.commands.virtual_machines import GIB, HOST_NAME, HOST_NAME_WORDS, with_password
from mgmt.api.encoded import LONGEST_USER_DATA
from mgmt.api.ownership import OwnerAccount, OwnerDomain, OwnerProject
from mgmt.api.params import Unsupported, wrong_value
from mgmt.api.registry import AsyncCommand, Response, Spec, Success, SyncCommand
from mgmt.api.responses.virtual_machines import VIRTUAL_MACHINE
from mgmt.api.user_vms import KIND, must_be, user_vm
from mgmt.model.errors import ParameterError
from mgmt.model.os_types import os_type_by_id
from mgmt.model.resources import ResourceType
from mgmt.model.states import TemplateState, VmState
from mgmt.ops import names
from mgmt.ops.compute.instance_groups import group_named
from mgmt.ops.compute.passwords import set_new_password
from mgmt.ops.compute.restore import fresh_root_size
from mgmt.ops.compute.user_data import give_user_data, touch_routers_of
from mgmt.ops.compute.vm_snapshots import refuse_with_snapshots
from mgmt.ops.compute.vms import check_vm_name, network_ids
from mgmt.ops.images.template_zones import in_zone
from mgmt.store.tables import Account, Job, ServiceOffering, Template, UserData, Vm
from mgmt.store.tables.base import new_id

Details = Annotated[
    dict[str, str] | None, "cpuNumber, cpuSpeed (MHz) and memory (MB), where the offering is custom"
]


class UpdateVirtualMachine(SyncCommand, kw_only=True, frozen=True):
    """Updates a virtual machine's names, user data, details and protection."""

    spec = Spec(answer=VIRTUAL_MACHINE, access=EVERYONE, event="VM.UPDATE", wakes=True)
    id: Annotated[str, Ref(Vm)]
    name: Annotated[str | None, "the host name; the guest learns it at its next start"] = None
    displayname: Annotated[str | None, "a name for users"] = None
    group: Annotated[str | None, "the name of an instance group; empty for none"] = None
    userdata: Annotated[str | None, "user data in base64", Meta(max_length=LONGEST_USER_DATA)] = None
    userdataid: Annotated[str | None, Ref(UserData), "registered user data, instead of userdata"] = None
    userdatadetails: Annotated[dict[str, str] | None, "values of the variables of userdataid"] = None
    ostypeid: Annotated[str | None, "the ID of the kind of operating system"] = None
    deleteprotection: Annotated[bool | None, "true: it cannot be destroyed"] = None
    details: Annotated[dict[str, str] | None, "keys and values kept with the VM, instead of those it has"] = (
        None
    )
    cleanupdetails: Annotated[bool, "true: remove all details"] = False
    customid: CustomId = None
    displayvm: Shown = None
    isdynamicallyscalable: Scaled = None
    haenable: Annotated[bool, Unsupported("no other host takes a VM over")] = False
    instancename: Annotated[str | None, Unsupported("the name on its host stays")] = None
    extraconfig: Annotated[str | None, Unsupported("hosts take no other configuration of a VM")] = None
    securitygroupids: NoGroups = None
    securitygroupnames: NoGroups = None

    def run(self, call: Call) -> Vm:
        """Change what was sent; routers follow at once, guests see it after their next start."""
        vm = user_vm(call, self.id)
        self._set_names(call, vm)
        self._set_user_data(call, vm)
        self._set_details(vm)
        if self.ostypeid is not None:
            kind = os_type_by_id(self.ostypeid)
            if kind is None:
                raise wrong_value("ostypeid", self.ostypeid, "an id of listOsTypes")
            vm.os_type = kind.description
        if self.deleteprotection is not None:
            vm.delete_protection = self.deleteprotection
        return vm

    def _set_names(self, call: Call, vm: Vm) -> None:
        vm.display_name = self.displayname or vm.display_name
        if self.group is not None:
            vm.group_id = None
        if self.group:
            vm.group_id = group_named(call.session, vm.account_id, vm.domain_id, self.group).id
        if self.name and self.name != vm.name:
            if not HOST_NAME.match(self.name):
                raise wrong_value("name", self.name, HOST_NAME_WORDS)
            check_vm_name(call.session, self.name, network_ids(call.session, vm.id), vm.id)
            vm.name = self.name
            touch_routers_of(call.session, vm)

    def _set_user_data(self, call: Call, vm: Vm) -> None:
        if self.userdata is None and self.userdataid is None:
            if self.userdatadetails:
                raise ParameterError("userdatadetails are for the variables of userdataid; send that too")
            return
        choice = chosen_user_data(call, vm.account_id, self.userdata, self.userdataid, self.userdatadetails)
        give_user_data(call.session, vm, choice)

    def _set_details(self, vm: Vm) -> None:
        sizes = sorted(key for key in self.details or {} if key.lower() in CHOICES)
        if sizes:
            raise ParameterError(f"Detail {sizes[0]} is the VM's size: change it with scaleVirtualMachine")
        if self.cleanupdetails:
            vm.details = {}
        if self.details is not None:
            vm.details = dict(self.details)


class ChangeServiceForVirtualMachine(SyncCommand, kw_only=True, frozen=True):
    """Gives a stopped virtual machine another service offering."""

    spec = Spec(answer=VIRTUAL_MACHINE, access=EVERYONE, event="VM.UPGRADE")
    id: Annotated[str, Ref(Vm)]
    serviceofferingid: Annotated[str, Ref(ServiceOffering, use=True)]
    details: Details = None

    def run(self, call: Call) -> Vm:
        """The new size counts from now, and holds from the next start."""
        return _resize(call, self.id, self.serviceofferingid, self.details)


class ScaleVirtualMachine(AsyncCommand, kw_only=True, frozen=True):
    """Gives a stopped virtual machine another service offering, or another size of a custom one."""

    spec = Spec(answer=Success, access=EVERYONE, event="VM.UPGRADE")
    id: Annotated[str, Ref(Vm)]
    serviceofferingid: Annotated[str, Ref(ServiceOffering, use=True)]
    details: Details = None

    def run(self, call: Call) -> Job:
        """There is nothing to do on hosts: a stopped VM takes its size when it starts."""
        vm = user_vm(call, self.id)
        if vm.state == VmState.running:
            raise ParameterError(
                f"VM {vm.name} is Running and cannot change its size while it runs: stop it first"
            )
        return call.finish(kind=KIND, about=_resize(call, self.id, self.serviceofferingid, self.details))


class ResetSSHKeyForVirtualMachine(AsyncCommand, kw_only=True, frozen=True):
    """Gives a stopped virtual machine other SSH keys, which it fetches at its next start."""

    spec = Spec(answer=VIRTUAL_MACHINE, access=EVERYONE, event="VM.RESETSSHKEY")
    id: Annotated[str, Ref(Vm)]
    keypair: Annotated[str | None, "the name of an SSH key pair"] = None
    keypairs: Annotated[list[str] | None, "names of SSH key pairs"] = None
    account: OwnerAccount = None
    domainid: OwnerDomain = None
    projectid: OwnerProject = None

    def run(self, call: Call) -> Job:
        """Only a stopped one: guests ask at boot."""
        vm = user_vm(call, self.id)
        must_be(vm, "given other SSH keys", VmState.stopped)
        wanted = [*(self.keypairs or []), *([self.keypair] if self.keypair else [])]
        if not wanted:
            raise ParameterError("Send keypair or keypairs: the keys that the VM gets")
        keys = [find_key(call, name, vm.account_id) for name in dict.fromkeys(wanted)]
        vm.key_names = [key.name for key in keys]
        vm.public_keys = [key.public_key for key in keys]
        return call.submit(names.REFRESH_GUEST, {"vm_id": vm.id}, kind=KIND, about=vm)


class RestoreVirtualMachine(AsyncCommand, kw_only=True, frozen=True):
    """Reinstalls a virtual machine: a fresh root disk from its template, or another one; data disks stay."""

    spec = Spec(answer=VIRTUAL_MACHINE, access=EVERYONE, event="VM.RESTORE", envelope="restorevmresponse")
    virtualmachineid: Annotated[str, Ref(Vm)]
    templateid: Annotated[str | None, Ref(Template, use=True), "another template"] = None
    rootdisksize: Annotated[int | None, "GiB, instead of the size it has", Meta(ge=1, le=1024)] = None

    def run(self, call: Call) -> Job:
        """A running one runs again afterwards. The old root disk is removed once the new one works."""
        vm = user_vm(call, self.virtualmachineid, "virtualmachineid")
        must_be(vm, "restored", VmState.running, VmState.stopped)
        refuse_with_snapshots(call.session, vm, "it cannot be restored")
        template = call.row_or_none(Template, self.templateid)
        if template is None and vm.template_id is not None:
            template = call.session.get(Template, vm.template_id)
        here = in_zone(call.session, template, vm.zone_id) if template is not None else None
        if template is None or (self.templateid is None and here is None):
            raise ParameterError(f"The template of VM {vm.name} is not there any more: send templateid")
        if here is None or here.state != TemplateState.ready or here.kind != "template":
            raise wrong_value("templateid", template.name, "a template in the VM's zone")
        size = (self.rootdisksize or 0) * GIB
        more = fresh_root_size(call.session, vm, template, size)
        owner = call.session.get_one(Account, vm.account_id)
        require(call.session, owner, {ResourceType.primary_storage: max(more, 0)})
        if template.password_enabled:
            set_new_password(vm, call.context.seal)
        arguments = {"vm_id": vm.id, "template_id": template.id, "size": size, "volume_id": new_id()}
        return call.submit(names.RESTORE_VM, arguments, kind=KIND, about=vm)

    @classmethod
    def result(cls, call: Call, job: Job, answer: Response) -> Response:
        """The password is in the answer of the job that made it."""
        return with_password(call, job, answer)


def _resize(call: Call, vm_id: str, offering_id: str, details: Mapping[str, str] | None) -> Vm:
    """Give a stopped VM an offering and a size, and count the difference. Raises LimitReached."""
    vm, offering = user_vm(call, vm_id), call.row(ServiceOffering, offering_id)
    must_be(vm, "given another size", VmState.stopped)
    refuse_with_snapshots(call.session, vm, "its size cannot change")
    if offering.system_vm_type is not None or offering.state != "Active":
        raise wrong_value("serviceofferingid", offering.name, "an active offering for guests")
    before = amounts_of_vm(call.session, vm)
    set_size(vm, offering, choose_size(offering, details or {}))
    after = amounts_of_vm(call.session, vm)
    owner = call.session.get_one(Account, vm.account_id)
    reserve_all(call.session, owner, {kind: after[kind] - before[kind] for kind in after})
    release_all(call.session, owner, {kind: before[kind] - after[kind] for kind in after})
    return vm
