"""Tenants' VMs: listed, and deployed. What changes a VM that exists is in `vm_lifecycle`."""

import re
from typing import Annotated, Any

from msgspec import Meta
from sqlalchemy import Select, select

from mgmt.alloc.sizes import choose_size, without_choices
from mgmt.api.absent import NoGroups, Planner
from mgmt.api.access import EVERYONE, InnerRef, Ref
from mgmt.api.addresses import read_address
from mgmt.api.call import Call
from mgmt.api.commands.affinity_groups import wanted_groups
from mgmt.api.commands.ssh_keys import find_key
from mgmt.api.commands.user_data import deployed_user_data
from mgmt.api.encoded import LONGEST_USER_DATA
from mgmt.api.lists import AllAre, CountAnyway, Equals, OwnedListCommand, ShownToUsers
from mgmt.api.ownership import OwnerAccount, OwnerDomain, OwnerProject
from mgmt.api.params import NoEffect, Unsupported, wrong_value
from mgmt.api.places import by_place
from mgmt.api.registry import AsyncCommand, Response, Spec
from mgmt.api.responses.virtual_machines import VIRTUAL_MACHINE, VirtualMachineResponse
from mgmt.model.errors import ParameterError
from mgmt.model.states import Allocation, VmKind, VmState
from mgmt.ops import names
from mgmt.ops.compute.passwords import reveal_password
from mgmt.ops.compute.vms import VmRequest, create_vm
from mgmt.store.tables import (
    AffinityGroup,
    AffinityMember,
    Cluster,
    DiskOffering,
    Host,
    InstanceGroup,
    Job,
    Network,
    Nic,
    Pod,
    ServiceOffering,
    SshKeyPair,
    StoragePool,
    Template,
    UserData,
    Vm,
    Zone,
)

GIB = 1024**3
PRESENT = "Present"
HOST_NAME_WORDS = "letters, digits and hyphens, first a letter, at most 63"
HOST_NAME = re.compile(r"^[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$")


class ListVirtualMachines(OwnedListCommand, kw_only=True, frozen=True):
    """Lists virtual machines."""

    spec = Spec(answer=VIRTUAL_MACHINE, access=EVERYONE)
    searched = (Vm.name, Vm.display_name)
    tag_type = "UserVm"

    name: Annotated[str | None, "the name or display name"] = None
    state: Annotated[str | None, "the state; Present for every VM that is not destroyed"] = None
    zoneid: Annotated[str | None, Ref(Zone, use=True), Equals(Vm.zone_id)] = None
    hostid: Annotated[str | None, Ref(Host), Equals(Vm.host_id)] = None
    templateid: Annotated[str | None, Ref(Template, use=True), Equals(Vm.template_id)] = None
    serviceofferingid: Annotated[str | None, Ref(ServiceOffering, use=True), Equals(Vm.offering_id)] = None
    isoid: Annotated[str | None, "the ISO in the drive", Ref(Template, use=True), Equals(Vm.iso_id)] = None
    networkid: Annotated[str | None, Ref(Network), "list only VMs in this network"] = None
    keypair: Annotated[str | None, "list only VMs with this SSH key pair"] = None
    groupid: Annotated[str | None, "the instance group", Ref(InstanceGroup), Equals(Vm.group_id)] = None
    affinitygroupid: Annotated[str | None, Ref(AffinityGroup), "list only VMs in this group"] = None
    userdataid: Annotated[str | None, "the user data", Ref(UserData), Equals(Vm.user_data_id)] = None
    podid: Annotated[str | None, Ref(Pod), "list only VMs in this pod"] = None
    clusterid: Annotated[str | None, Ref(Cluster), "list only VMs in this cluster"] = None
    storageid: Annotated[str | None, Ref(StoragePool), "list only VMs with a volume in this pool"] = None
    hypervisor: Annotated[str | None, "the hypervisor: KVM, as all VMs here have", AllAre("KVM")] = None
    haenable: Annotated[bool | None, "true for VMs that another host takes over; none is", AllAre(False)] = (
        None
    )
    vpcid: Annotated[str | None, "list only VMs in this VPC; there are none", AllAre(None)] = None
    displayvm: ShownToUsers = None
    forvirtualnetwork: Annotated[bool | None, "false for VMs in shared networks: none", AllAre(True)] = None
    isvnf: Annotated[bool | None, "true for network appliances: none", AllAre(False)] = None
    securitygroupid: Annotated[str | None, "VMs in this security group: none", AllAre(None)] = None
    autoscalevmgroupid: Annotated[str | None, "VMs of this group: none", AllAre(None)] = None
    backupofferingid: Annotated[str | None, "VMs with this backup offering: none", AllAre(None)] = None
    userid: Annotated[str | None, Unsupported("VMs belong to accounts, whichever user asked for them")] = None
    retrieveonlyresourcecount: CountAnyway = False
    details: Annotated[list[str] | None, NoEffect("all parts of the answer are always there")] = None

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """Tenants' VMs only."""
        query = query.where(Vm.kind == VmKind.user)
        if self.state is not None:
            is_present = Vm.state.not_in((VmState.destroyed, VmState.expunging))
            query = query.where(is_present if self.state == PRESENT else Vm.state == self.state)
        if self.name is not None:
            query = query.where((Vm.name == self.name) | (Vm.display_name == self.name))
        if self.networkid:
            here = select(Nic.vm_id).where(Nic.network_id == self.networkid, Nic.removed.is_(None))
            query = query.where(Vm.id.in_(here))
        if self.keypair is not None:
            query = query.where(Vm.key_names.as_string().contains(f'"{self.keypair}"', autoescape=True))
        if self.affinitygroupid:
            members = select(AffinityMember.vm_id).where(AffinityMember.group_id == self.affinitygroupid)
            query = query.where(Vm.id.in_(members))
        return by_place(query, pod_id=self.podid, cluster_id=self.clusterid, pool_id=self.storageid)


class DeployVirtualMachine(AsyncCommand, kw_only=True, frozen=True):
    """Creates and starts a virtual machine from a template or an ISO, in one network or several."""

    spec = Spec(answer=VIRTUAL_MACHINE, access=EVERYONE, event="VM.CREATE")
    creates = True

    zoneid: Annotated[str, Ref(Zone, use=True)]
    serviceofferingid: Annotated[str, Ref(ServiceOffering, use=True)]
    templateid: Annotated[str, Ref(Template, use=True)]
    networkids: Annotated[list[str] | None, Ref(Network), "the networks; the first one is the default"] = None
    iptonetworklist: Annotated[
        list[dict[str, str]] | None,
        InnerRef("networkid", Network),
        "networkid and ip, instead of networkids and ipaddress",
    ] = None
    ipaddress: Annotated[str | None, "the wanted address in the first network"] = None
    name: Annotated[str | None, "the host name"] = None
    displayname: Annotated[str | None, "a name for users"] = None
    group: Annotated[str | None, "the name of an instance group; made unless there is one"] = None
    keypair: Annotated[str | None, "the name of an SSH key pair"] = None
    keypairs: Annotated[list[str] | None, "names of SSH key pairs"] = None
    userdata: Annotated[str | None, "user data in base64", Meta(max_length=LONGEST_USER_DATA)] = None
    userdataid: Annotated[str | None, Ref(UserData), "registered user data, instead of userdata"] = None
    userdatadetails: Annotated[dict[str, str] | None, "values of the variables of userdataid"] = None
    affinitygroupids: Annotated[list[str] | None, Ref(AffinityGroup), "the affinity groups it is in"] = None
    affinitygroupnames: Annotated[list[str] | None, "names of them, instead of affinitygroupids"] = None
    rootdisksize: Annotated[int | None, "GiB, instead of the template's size", Meta(ge=1, le=1024)] = None
    diskofferingid: Annotated[
        str | None, Ref(DiskOffering, use=True), "adds a data disk; with an ISO it is the root disk's"
    ] = None
    size: Annotated[int | None, "GiB of the data disk, where the offering leaves it open", Meta(ge=1)] = None
    hypervisor: Annotated[str | None, "the hypervisor: KVM"] = None
    hostid: Annotated[str | None, Ref(Host), "the host to start it on"] = None
    podid: Annotated[str | None, Ref(Pod), "the pod to start it in"] = None
    clusterid: Annotated[str | None, Ref(Cluster), "the cluster to start it in"] = None
    startvm: Annotated[bool, "false: create it stopped"] = True
    keyboard: Annotated[str | None, NoEffect("consoles send the keys that the browser names")] = None
    displayvm: Annotated[bool, NoEffect("a VM is its owner's to see")] = True
    dynamicscalingenabled: Annotated[bool, NoEffect("VMs change their size while they are stopped")] = True
    boottype: Annotated[str | None, "BIOS, the only one"] = None
    bootmode: Annotated[str | None, "Legacy, the only one of BIOS"] = None
    bootintosetup: Annotated[bool, Unsupported("a VM starts from its disk")] = False
    deploymentplanner: Planner = None
    macaddress: Annotated[str | None, Unsupported("addNicToVirtualMachine gives a NIC its MAC address")] = (
        None
    )
    ip6address: Annotated[str | None, Unsupported("networks have IPv4 only")] = None
    password: Annotated[str | None, Unsupported("a VM's password is made for it, and told once")] = None
    customid: Annotated[str | None, Unsupported("ids are made here")] = None
    extraconfig: Annotated[str | None, Unsupported("hosts take no other configuration of a VM")] = None
    overridediskofferingid: Annotated[str | None, Unsupported("rootdisksize is the root disk's size")] = None
    securitygroupids: NoGroups = None
    securitygroupnames: NoGroups = None
    datadiskofferinglist: Annotated[
        list[dict[str, str]] | None, Unsupported("diskofferingid adds one data disk")
    ] = None
    dhcpoptionsnetworklist: Annotated[
        list[dict[str, str]] | None, Unsupported("DHCP tells every guest the same")
    ] = None
    details: Annotated[
        dict[str, str] | None,
        "keys and values kept with the VM; cpuNumber, cpuSpeed and memory are the size of a custom offering",
    ] = None
    account: OwnerAccount = None
    domainid: OwnerDomain = None
    projectid: OwnerProject = None

    def run(self, call: Call) -> Job:
        """Check everything, insert the rows, leave the rest to the workflow."""
        zone, offering = call.row(Zone, self.zoneid), call.row(ServiceOffering, self.serviceofferingid)
        self._check(call, zone, offering)
        keys = self._keys(call)
        account_id = call.owner.account.id
        template = call.row(Template, self.templateid)
        user_data = deployed_user_data(
            call, account_id, template, self.userdata, self.userdataid, self.userdatadetails
        )
        request = VmRequest(
            account_id=account_id,
            domain_id=call.owner.domain.id,
            zone_id=zone.id,
            offering=offering,
            template=template,
            networks=self._networks(call),
            name=self.name or "",
            display_name=self.displayname or "",
            group=self.group,
            affinity_groups=wanted_groups(call, account_id, self.affinitygroupids, self.affinitygroupnames),
            size=choose_size(offering, self.details or {}),
            user_data=user_data.data,
            user_data_id=user_data.registered_id,
            user_data_values=user_data.values,
            key_names=tuple(key.name for key in keys),
            public_keys=tuple(key.public_key for key in keys),
            root_disk_bytes=(self.rootdisksize or 0) * GIB,
            disk_offering=call.row_or_none(DiskOffering, self.diskofferingid),
            disk_bytes=(self.size or 0) * GIB,
            details=without_choices(self.details or {}),
        )
        vm = create_vm(call.session, call.context.seal, request)
        within = part_of_zone(call, zone.id, self.podid, self.clusterid)
        arguments = {"vm_id": vm.id, "start": self.startvm, "host_id": self.hostid, "within": within}
        return call.submit(names.DEPLOY_VM, arguments, kind="VirtualMachine", about=vm)

    @classmethod
    def result(cls, call: Call, job: Job, answer: Response) -> Response:
        """The password is in the answer of the job that made it."""
        return with_password(call, job, answer)

    def _check(self, call: Call, zone: Zone, offering: ServiceOffering) -> None:
        if zone.allocation != Allocation.enabled and not call.caller.is_root:
            raise ParameterError(f"Zone {zone.name} is disabled; choose an enabled one")
        if offering.system_vm_type is not None or offering.state != "Active":
            raise wrong_value("serviceofferingid", offering.name, "an active offering for guests")
        if self.hypervisor and self.hypervisor.upper() != "KVM":
            raise wrong_value("hypervisor", self.hypervisor, "KVM")
        if not self.startvm and (self.hostid or self.podid or self.clusterid):
            raise ParameterError(
                "hostid, podid and clusterid are for VMs that start: send them with the start"
            )
        for name, value, only in (("boottype", self.boottype, "BIOS"), ("bootmode", self.bootmode, "LEGACY")):
            if value is not None and value.upper() != only:
                raise wrong_value(name, value, f"{only.capitalize()}, the only one supported")
        if self.name and not HOST_NAME.match(self.name):
            raise wrong_value("name", self.name, HOST_NAME_WORDS)

    def _keys(self, call: Call) -> list[SshKeyPair]:
        wanted = [*(self.keypairs or []), *([self.keypair] if self.keypair else [])]
        return [find_key(call, name) for name in dict.fromkeys(wanted)]

    def _networks(self, call: Call) -> tuple[tuple[Network, str | None], ...]:
        if self.iptonetworklist:
            if self.networkids or self.ipaddress:
                raise ParameterError("iptonetworklist goes without networkids and ipaddress")
            pairs = [_pair(call, item) for item in self.iptonetworklist]
        elif self.networkids:
            first = str(read_address("ipaddress", self.ipaddress)) if self.ipaddress else None
            rows = [call.row(Network, network_id) for network_id in self.networkids]
            pairs = [(row, first if at == 0 else None) for at, row in enumerate(rows)]
        else:
            pairs = [(_only_network(call, self.zoneid), None)]
        for network, _wanted in pairs:
            if network.account_id != call.owner.account.id:
                raise ParameterError(f"Network {network.name} belongs to another account than the VM would")
        return tuple(pairs)


def part_of_zone(call: Call, zone_id: str, pod_id: str | None, cluster_id: str | None) -> str:
    """The id of the cluster, or else of the pod, that a VM is to start in; empty for anywhere in its zone.
    Raises `ParameterError` if they are not within each other."""
    cluster, pod = call.row_or_none(Cluster, cluster_id), call.row_or_none(Pod, pod_id)
    if cluster is not None and pod is not None and cluster.pod_id != pod.id:
        raise ParameterError(f"Cluster {cluster.name} is not in pod {pod.name}; send clusterid alone")
    for part in (cluster, pod):
        if part is not None and part.zone_id != zone_id:
            raise ParameterError(f"{type(part).__name__} {part.name} is in another zone than the VM")
    return cluster_id or pod_id or ""


def with_password(call: Call, job: Job, answer: Response) -> Response:
    """Add the VM's password to the result of the job that set it, for its owner only."""
    vm = call.session.get(Vm, job.instance_id) if job.instance_id else None
    if isinstance(answer, VirtualMachineResponse) and vm is not None and job.user_id == call.caller.user.id:
        answer.password = reveal_password(vm, call.context.seal)
    return answer


def _pair(call: Call, item: dict[str, str]) -> tuple[Network, str | None]:
    if "networkid" not in item:
        raise ParameterError("Every item of iptonetworklist needs a networkid")
    network = call.row(Network, item["networkid"])
    wanted = item.get("ip")
    return network, str(read_address("iptonetworklist.ip", wanted)) if wanted else None


def _only_network(call: Call, zone_id: str) -> Network:
    query = select(Network).where(
        Network.account_id == call.owner.account.id, Network.zone_id == zone_id, Network.removed.is_(None)
    )
    found = call.session.scalars(query.limit(2)).all()
    if len(found) != 1:
        raise ParameterError(
            "Send networkids: " + ("you have several networks" if found else "you have no network")
        )
    return found[0]
