"""What contract tests of drivers speak about: one host, its driver, documents of a guest and a router."""

from dataclasses import dataclass

import msgspec

from mgmt.agents.host import HostEndpoint
from mgmt.agents.machine import MachineAgent, MachineEndpoint
from mgmt.desired.domain import Disk, Identity, Plug, VmInput, compile_guest, compile_system_vm
from mgmt.drivers.protocol import Driver
from mgmt.drivers.simulator import Simulator
from mgmt.pki.authority import Authority, vm_name
from systemvm.spec.appliances import Storage, TemplateSource
from systemvm.spec.host import Domain
from systemvm.spec.network import Interfaces, Nic
from systemvm.spec.state import State
from systemvm.spec.types import Purpose, Role

HOST = "aaaaaaaa-0000-4000-8000-000000000001"
OTHER = "aaaaaaaa-0000-4000-8000-000000000002"
VM = "bbbbbbbb-0000-4000-8000-000000000001"
DISK = "cccccccc-0000-4000-8000-000000000001"
DATA = "cccccccc-0000-4000-8000-000000000002"
ROUTER = "dddddddd-0000-4000-8000-000000000001"
POOL = "cccccccc-0000-4000-8000-00000000000a"
COPY = "ffffffff-0000-4000-8000-000000000001"
NETWORK = "eeeeeeee-0000-4000-8000-000000000001"


@dataclass
class Bench:
    driver: Driver
    host: HostEndpoint
    simulator: Simulator
    authority: Authority

    def guest(self, power: str = "running", disks: tuple[str, ...] = (DISK,)) -> Domain:
        return compile_guest(
            VmInput(
                id=VM,
                name="i-1-VM",
                power=power,
                cpus=1,
                memory=128,
                plugs=(Plug(mac="02:00:00:00:00:01", bridge="brvx-10000"),),
                disks=tuple(Disk(id=disk, pool="primary", bytes=1 << 20) for disk in disks),
            )
        )

    def router(self, role: str = "router") -> Domain:
        agent = self.authority.machine_agent(ROUTER, "169.254.1.5")
        plugs = (
            Plug(mac="02:00:00:00:00:02", bridge="cloud0", purpose="linklocal", name="link0"),
            Plug(mac="02:00:00:00:00:03", bridge="pileus-public", purpose="public", name="public0"),
        )
        wanted = VmInput(id=ROUTER, name="r-2-VM", power="running", cpus=1, memory=256, plugs=plugs)
        identity = Identity(
            role=role,
            linklocal_address="169.254.1.5",
            certificate=agent.certificate,
            key=agent.key,
            client_ca=self.authority.client_ca,
        )
        return compile_system_vm(wanted, identity)

    def storage_vm(self) -> MachineAgent:
        """A running storage VM that keeps nothing yet (it has the router's place)."""
        self.driver.put_domain(self.host, self.router("storage"))
        agent = self.driver.machine(self.machine())
        agent.put_state(self.storage_document(1))
        return agent

    def storage_document(self, generation: int, *templates: TemplateSource) -> State:
        own = self.authority.machine_service(ROUTER, "storage", ["172.31.240.9"])
        storage = Storage(
            address="172.31.240.9",
            certificate=own.certificate,
            key=own.key,
            ticket_key=self.authority.ticket_public_key,
            templates=templates,
        )
        document = msgspec.structs.replace(machine_document(generation), role=Role.storage, storage=storage)
        return document

    def machine(self, server_name: str = vm_name(ROUTER)) -> MachineEndpoint:
        return MachineEndpoint(
            machine=ROUTER, name="r-2-VM", server_name=server_name, address="169.254.1.5", host=self.host
        )


def machine_document(generation: int, **more: str) -> State:
    nic = Nic(
        mac=more.get("mac", "02:00:00:00:00:03"),
        name="public0",
        purpose=Purpose.public,
        addresses=("172.31.241.10/24",),
    )
    return State(
        generation=generation,
        machine=more.get("machine", ROUTER),
        role=Role.router,
        hostname=more.get("hostname", "r-2-VM"),
        interfaces=Interfaces(nics=(nic,)),
    )
