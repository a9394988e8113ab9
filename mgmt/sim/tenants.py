"""Rows of the tenants: domains, accounts, networks with their routers, VMs, volumes, and their history."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Any
from uuid import UUID, uuid5

from mgmt.model.resources import ResourceType
from mgmt.model.states import AddressState, JobStatus, NetworkState, VmKind, VmState, VolumeKind, VolumeState
from mgmt.ops import names
from mgmt.ops.machines.system_vms import ROOT_BYTES
from mgmt.ops.runtime import utc_now
from mgmt.sim.bulk import Batch, Values
from mgmt.sim.places import FIRST_VNI, Places
from mgmt.sim.plan import ACCOUNTS_OF_DOMAIN, SPARE_ADDRESSES, VMS_OF_NETWORK, Plan
from mgmt.store.events import start_event_id
from mgmt.store.tables import (
    Account,
    Domain,
    Event,
    Job,
    Network,
    Nic,
    PublicAddress,
    ResourceCount,
    User,
    Vm,
    Volume,
)
from mgmt.store.tables.base import new_id
from systemvm.spec.types import Purpose

CIDR, GATEWAY, NETMASK, _FIRST_GUEST = "10.1.1.0/24", "10.1.1.1", "255.255.255.0", 2
#: The routers' link-local address: no host has more than one, and the zone's own system VMs come before.
_LINKLOCAL = "169.254.2.1"
#: Locally administered like all MACs of the cloud; random ones with these first octets are rare.
_MAC = 0x02_5E_00_00_00_00


@dataclass(frozen=True)
class Basics:
    """Rows of every cloud that tenants' rows refer to: ids, and what VMs are made of."""

    root_domain: str
    network_offering: str
    router_offering: str
    vm_offering: str
    cpus: int
    memory: int
    disk_offering: str
    disk_bytes: int
    template: str
    template_bytes: int
    names: int
    """How many VMs there are already: names of VMs are numbered."""


@dataclass
class _Tenancy:
    batch: Batch
    plan: Plan
    basics: Basics
    places: Places
    moment: datetime = field(default_factory=utc_now)
    accounts: list[Values] = field(default_factory=list)
    users: list[Values] = field(default_factory=list)
    used: Counter[tuple[str, ResourceType]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Numbers go on where the cloud's own system VMs ended."""
        self.names, self.macs = count(self.basics.names + 1), count(_MAC)

    def mac(self) -> str:
        """The next MAC."""
        return ":".join(f"{octet:02x}" for octet in next(self.macs).to_bytes(6, "big"))

    def count(self, account: Values, kind: ResourceType, amount: int = 1) -> None:
        """Count for an account, its domain, and ROOT."""
        for owner in (account["id"], account["domain_id"], self.basics.root_domain):
            self.used[owner, kind] += amount


def add_tenants(batch: Batch, plan: Plan, basics: Basics, places: Places) -> None:
    """Note all that tenants of a plan have."""
    tenancy = _Tenancy(batch, plan, basics, places)
    _add_accounts(tenancy)
    networks = [_add_network(tenancy, number) for number in range(plan.all_networks)]
    vms = [_add_vm(tenancy, networks[number // VMS_OF_NETWORK], number) for number in range(plan.vms)]
    for number in range(plan.data_disks if plan.vms else 0):
        _add_data_disk(tenancy, vms[number % plan.vms], number)
    for (owner, kind), used in tenancy.used.items():
        batch.add(ResourceCount, owner_id=owner, type=int(kind), used=used)


def _add_accounts(tenancy: _Tenancy) -> None:
    domain = ""
    for number in range(tenancy.plan.all_accounts):
        if number % ACCOUNTS_OF_DOMAIN == 0:
            name = f"shop{number // ACCOUNTS_OF_DOMAIN + 1}"
            domain = tenancy.batch.add(
                Domain, name=name, path=f"/{name}/", parent_id=tenancy.basics.root_domain
            )["id"]
        name = f"tenant{number + 1}"
        account = tenancy.batch.add(Account, name=name, domain_id=domain)
        tenancy.accounts.append(account)
        # No hash: nobody logs in with a password.
        tenancy.users.append(
            tenancy.batch.add(User, account_id=account["id"], username=name, password="!")  # noqa: S106
        )


def _add_network(tenancy: _Tenancy, number: int) -> Values:
    """A network; one that has VMs is implemented, with a source NAT address and a router."""
    account = tenancy.accounts[number % len(tenancy.accounts)]
    is_used = number < tenancy.plan.used_networks
    network = tenancy.batch.add(
        Network,
        **_owner(account),
        zone_id=tenancy.places.zone_id,
        offering_id=tenancy.basics.network_offering,
        name=f"net{number + 1}",
        display_text=f"Network {number + 1}",
        cidr=CIDR,
        gateway=GATEWAY,
        netmask=NETMASK,
        network_domain="cs1.internal",
        vni=FIRST_VNI + number if is_used else None,
        state=NetworkState.implemented if is_used else NetworkState.allocated,
    )
    tenancy.count(account, ResourceType.network)
    if is_used:
        tenancy.batch.add(
            PublicAddress,
            **_owner(account),
            **tenancy.places.public_address(SPARE_ADDRESSES + number),
            network_id=network["id"],
            state=AddressState.allocated,
            is_source_nat=True,
        )
        tenancy.count(account, ResourceType.public_ip)
        _add_router(tenancy, network, number)
    return network


def _add_router(tenancy: _Tenancy, network: Values, number: int) -> None:
    """A router beside the first VM of its network."""
    host = tenancy.plan.host_of(number * VMS_OF_NETWORK)
    name = f"r-{next(tenancy.names)}-VM"
    vm = _vm(
        tenancy,
        network,
        VmKind.router,
        name,
        host,
        network_id=network["id"],
        offering_id=tenancy.basics.router_offering,
        linklocal_address=_LINKLOCAL,
        generation=1,
        applied=1,
        healthy=True,
    )
    _add_volume(tenancy, vm, f"ROOT-{name}", host, size=ROOT_BYTES, device=0, kind=VolumeKind.root)
    _add_nic(tenancy, vm, purpose=Purpose.linklocal, position=0, address=_LINKLOCAL)
    _add_nic(tenancy, vm, purpose=Purpose.public, position=1)
    guest = {"network_id": network["id"], "address": GATEWAY, "netmask": NETMASK}
    _add_nic(tenancy, vm, purpose=Purpose.guest, position=2, **guest)


def _add_vm(tenancy: _Tenancy, network: Values, number: int) -> Values:
    """A tenant's VM with its root disk and NIC, the job that made it and that job's events."""
    basics, host = tenancy.basics, tenancy.plan.host_of(number)
    vm = _vm(
        tenancy,
        network,
        VmKind.user,
        f"i-{next(tenancy.names)}-VM",
        host,
        is_running=tenancy.plan.is_running(number),
        name=f"vm{number + 1}",
        display_name=f"vm{number + 1}",
        offering_id=basics.vm_offering,
        template_id=basics.template,
    )
    owner = tenancy.accounts[_network_number(number) % len(tenancy.accounts)]
    for kind, amount in (
        (ResourceType.user_vm, 1),
        (ResourceType.cpu, basics.cpus),
        (ResourceType.memory, basics.memory),
    ):
        tenancy.count(owner, kind, amount)
    root = {"kind": VolumeKind.root, "device": 0, "template_id": basics.template}
    _add_volume(tenancy, vm, f"ROOT-{vm['id'][:8]}", host, owner, size=basics.template_bytes, **root)
    _add_nic(
        tenancy,
        vm,
        network_id=network["id"],
        address=f"10.1.1.{_FIRST_GUEST + number % VMS_OF_NETWORK}",
        netmask=NETMASK,
        gateway=GATEWAY,
        is_default=True,
    )
    _add_history(tenancy, vm, tenancy.users[_network_number(number) % len(tenancy.users)])
    return {**vm, "number": number}


def _add_data_disk(tenancy: _Tenancy, vm: Values, number: int) -> None:
    basics, owner = tenancy.basics, vm["number"]
    _add_volume(
        tenancy,
        vm,
        f"data{number + 1}",
        tenancy.plan.host_of(owner),
        tenancy.accounts[_network_number(owner) % len(tenancy.accounts)],
        size=basics.disk_bytes,
        device=1 + number // tenancy.plan.vms,
        kind=VolumeKind.data,
        offering_id=basics.disk_offering,
    )


def _vm(
    tenancy: _Tenancy,
    network: Values,
    kind: VmKind,
    instance_name: str,
    host: int,
    *,
    is_running: bool = True,
    **columns: Any,
) -> Values:
    host_id = tenancy.places.hosts[host]["id"]
    place = {"host_id": host_id} if is_running else {"last_host_id": host_id}
    columns = {"name": instance_name, "display_name": instance_name, **columns}
    return tenancy.batch.add(
        Vm,
        **_owner(network, "account_id"),
        **place,
        **columns,
        kind=kind,
        instance_name=instance_name,
        zone_id=tenancy.places.zone_id,
        state=VmState.running if is_running else VmState.stopped,
        desired_power="running" if is_running else "stopped",
        last_start=tenancy.moment,
    )


def _add_volume(
    tenancy: _Tenancy, vm: Values, name: str, host: int, counted: Values | None = None, **columns: Any
) -> None:
    """A volume; those of tenants count for `counted`."""
    pool_id = tenancy.places.pools[host]["id"]
    place = {"zone_id": tenancy.places.zone_id, "pool_id": pool_id, "vm_id": vm["id"]}
    tenancy.batch.add(
        Volume, **_owner(vm, "account_id"), **place, name=name, state=VolumeState.ready, **columns
    )
    if counted is not None:
        tenancy.count(counted, ResourceType.volume)
        tenancy.count(counted, ResourceType.primary_storage, columns["size"])


def _add_nic(tenancy: _Tenancy, vm: Values, **columns: Any) -> None:
    tenancy.batch.add(Nic, **_owner(vm, "account_id"), vm_id=vm["id"], mac=tenancy.mac(), **columns)


def _add_history(tenancy: _Tenancy, vm: Values, user: Values) -> None:
    command, event_type, job_id = "deployVirtualMachine", "VM.CREATE", new_id()
    about = {"instance_type": "VirtualMachine", "instance_id": vm["id"], "event_type": event_type}
    tenancy.batch.add(
        Job,
        **_owner(vm, "account_id"),
        **about,
        id=job_id,
        user_id=user["id"],
        command=command,
        workflow=names.DEPLOY_VM,
        arguments={"vm_id": vm["id"]},
        handed_over=True,
        status=JobStatus.succeeded,
        completed=tenancy.moment,
    )
    first = start_event_id(job_id)
    resource = {"type": event_type, "resource_type": "VirtualMachine", "resource_id": vm["id"]}
    for state, words, event_id, parent in (
        ("Scheduled", "was asked for", first, None),
        ("Started", "has started", str(uuid5(UUID(job_id), "Started")), first),
        ("Completed", "is done", new_id(), first),
    ):
        tenancy.batch.add(
            Event,
            **_owner(vm, "account_id"),
            **resource,
            id=event_id,
            user_id=user["id"],
            state=state,
            description=f"{command} {words}",
            parent_id=parent,
        )


def _network_number(vm: int) -> int:
    return vm // VMS_OF_NETWORK


def _owner(row: Values, account: str = "id") -> Values:
    return {"account_id": row[account], "domain_id": row["domain_id"]}
