"""A cloud on the simulator: one zone with a host, a pool, ranges, a ready template. For tests of mgmt."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from unittest.mock import patch

from argon2 import PasswordHasher
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from mgmt.drivers.faults import Faults
from mgmt.drivers.simulated_host import GIB
from mgmt.drivers.simulated_time import SimulatedTime
from mgmt.drivers.simulator import Simulator
from mgmt.model.pools import PoolKind, StorageType
from mgmt.model.states import Allocation, TemplateState
from mgmt.ops.compute.vms import VmRequest, create_vm
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga, StepFailed, run_directly
from mgmt.ops.storage.shared_pools import connect_new, note_reached
from mgmt.ops.workflows import run
from mgmt.pki.authority import Authority
from mgmt.store import passwords
from mgmt.store.database import Database
from mgmt.store.defaults import ISOLATED_OFFERING, add_defaults
from mgmt.store.sealing import Seal
from mgmt.store.tables import (
    Account,
    Base,
    Cluster,
    DiskOffering,
    Host,
    ImageStore,
    Network,
    NetworkOffering,
    PhysicalNetwork,
    Pod,
    PublicAddress,
    ServiceOffering,
    StoragePool,
    Template,
    TrafficType,
    User,
    VlanRange,
    Vm,
    Zone,
)

#: Its files, below a cloud's folder.
DATABASE, KEYS = "mgmt.db", "pki"


@dataclass
class Clock:
    """Time that passes only when somebody sleeps."""

    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    slept: float = 0.0

    def __call__(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        return self.now.timestamp()

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.now += timedelta(seconds=seconds)


@dataclass
class SmallCloud:
    """Rows that tests need, by id, and the machinery around them."""

    runtime: Runtime
    simulator: Simulator
    clock: Clock
    zone_id: str = ""
    host_id: str = ""
    pool_id: str = ""
    template_id: str = ""
    account_id: str = ""
    domain_id: str = ""
    user_id: str = ""
    said: list[str] = field(default_factory=list)

    def run(self, workflow: str, **arguments: Any) -> list[str]:
        """Run a workflow to its end; the steps. Raises StepFailed after the undo."""
        steps: list[str] = []
        saga = Saga(run_directly, steps.append)
        try:
            run(self.runtime, saga, workflow, arguments)
        except StepFailed:
            self.said = saga.roll_back()
            raise
        return steps

    def row(self, table: type[Any], row_id: str) -> Any:
        with self.runtime.database.reading() as session:
            return session.get_one(table, row_id)

    def rows(self, table: type[Any]) -> list[Any]:
        with self.runtime.database.reading() as session:
            return list(session.scalars(select(table).where(table.removed.is_(None))))

    def add(self, *rows: Any) -> Any:
        with self.runtime.database.writing() as session:
            session.add_all(rows)
        return rows[0]

    def new_network(self, name: str = "net", cidr: str = "10.1.1.0/24") -> Network:
        with self.runtime.database.reading() as session:
            offering = session.scalars(
                select(NetworkOffering).where(NetworkOffering.name == ISOLATED_OFFERING)
            ).one()
        first = IPv4Address(cidr.partition("/")[0]) + 1
        network: Network = self.add(
            Network(
                account_id=self.account_id,
                domain_id=self.domain_id,
                zone_id=self.zone_id,
                offering_id=offering.id,
                name=name,
                display_text=name,
                cidr=cidr,
                gateway=str(first),
                netmask="255.255.255.0",
                network_domain="cs1.internal",
            )
        )
        return network

    def new_vm(self, network: Network, name: str = "web", **more: Any) -> Vm:
        with self.runtime.database.writing() as session:
            return create_vm(session, self.runtime.seal, self.request(session, network, name, **more))

    def request(self, session: Session, network: Network, name: str, **more: Any) -> VmRequest:
        offering = session.scalars(
            select(ServiceOffering).where(ServiceOffering.name == "Tiny Instance")
        ).one()
        return VmRequest(
            account_id=self.account_id,
            domain_id=self.domain_id,
            zone_id=self.zone_id,
            offering=offering,
            template=session.get_one(Template, self.template_id),
            networks=((network, None),),
            name=name,
            **more,
        )

    def router(self, network: Network) -> Vm:
        return next(vm for vm in self.rows(Vm) if vm.kind == "router" and vm.network_id == network.id)

    def document(self, vm_id: str) -> Any:
        """The document that a system VM's agent has."""
        return self.simulator.machines[vm_id].state


def make_cloud(folder: Path, *, memory_mib: int = 65536, url: str = "") -> SmallCloud:
    """A fresh cloud below `folder`; its zone's system VMs are not made yet. `url` is another database's."""
    cloud = open_cloud(folder, url, Clock())
    database = cloud.runtime.database
    Base.metadata.create_all(database.engine)
    # The administrator's password is not what these tests are about, and a good hash takes half a second.
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    with database.writing() as session, patch.object(passwords, "HASHER", cheap):
        add_defaults(session)
        _fill(session, cloud, memory_mib)
    return cloud


def open_cloud(folder: Path, url: str, clock: Clock) -> SmallCloud:
    """The machinery around a database that may be empty; no host is known to the simulator yet."""
    simulator = Simulator(Faults(time=SimulatedTime(monotonic=clock.seconds, sleep=clock.sleep)))
    runtime = Runtime(
        database=Database(url or f"sqlite:///{folder / DATABASE}"),
        seal=Seal(b"k" * 32),
        authority=Authority(folder / KEYS),
        drivers={"simulator": simulator},
        now=clock,
        sleep=clock.sleep,
    )
    return SmallCloud(runtime, simulator, clock)


def add_host(cloud: SmallCloud, name: str = "host2", address: str = "172.31.240.2") -> str:
    """One more host like the first, with a pool of its own; its id."""
    first = cloud.row(Host, cloud.host_id)
    same = {key: getattr(first, key) for key in ("zone_id", "pod_id", "cluster_id", "driver", "cpus")}
    ports = {"port": 8445, "tunnel_port": 8446, "relay_port": 8447}
    host = cloud.add(
        Host(**same, **ports, name=name, address=address, memory_mib=first.memory_mib, state="Up")
    )
    place = {"zone_id": first.zone_id, "host_id": host.id, "cluster_id": first.cluster_id}
    cloud.add(StoragePool(**place, name=f"primary of {name}", path="primary", capacity=1000 * GIB))
    return str(host.id)


def add_shared_pool(cloud: SmallCloud, path: str = "/mnt/shared") -> StoragePool:
    """A pool that all hosts of the zone share; from now on tenants' offerings ask for it."""
    pool = StoragePool(
        zone_id=cloud.zone_id,
        name="shared",
        path=path,
        scope="ZONE",
        type=PoolKind.shared_directory,
        capacity=1000 * GIB,
    )
    hosts = cloud.rows(Host)
    connect_new(cloud.runtime, pool, hosts)
    with cloud.runtime.database.writing() as session:
        session.add(pool)
        session.flush()
        for host in hosts:
            note_reached(session, pool.id, host.id)
        tenants = update(ServiceOffering).where(ServiceOffering.system_vm_type.is_(None))
        session.execute(tenants.values(storage_type=StorageType.shared))
        session.execute(update(DiskOffering).values(storage_type=StorageType.shared))
    return pool


def _fill(session: Session, cloud: SmallCloud, memory_mib: int) -> None:
    account = session.scalars(select(Account).where(Account.name == "admin")).one()
    user = session.scalars(select(User).where(User.account_id == account.id)).one()
    zone = Zone(name="zone1", dns1="9.9.9.9", internal_dns1="9.9.9.9", allocation=Allocation.enabled)
    session.add(zone)
    session.flush()
    physical = PhysicalNetwork(zone_id=zone.id, name="physical1", state="Enabled")
    pod = Pod(
        zone_id=zone.id,
        name="pod1",
        gateway="172.31.240.1",
        netmask="255.255.255.0",
        start_ip="172.31.240.10",
        end_ip="172.31.240.30",
    )
    session.add_all([physical, pod, ImageStore(zone_id=zone.id, name="secondary")])
    session.flush()
    labels = {"Management": "pileus-mgmt", "Public": "pileus-public", "Guest": "cloud0"}
    for kind, label in labels.items():
        session.add(TrafficType(physical_network_id=physical.id, type=kind, label=label))
    cluster = Cluster(zone_id=zone.id, pod_id=pod.id, name="cluster1")
    range_ = VlanRange(
        zone_id=zone.id,
        physical_network_id=physical.id,
        gateway="172.31.241.1",
        netmask="255.255.255.0",
        start_ip="172.31.241.10",
        end_ip="172.31.241.19",
    )
    session.add_all([cluster, range_])
    session.flush()
    first = int(IPv4Address(range_.start_ip))
    session.add_all(
        PublicAddress(
            zone_id=zone.id, range_id=range_.id, address=str(IPv4Address(first + index)), sort=first + index
        )
        for index in range(10)
    )
    host = Host(
        zone_id=zone.id,
        pod_id=pod.id,
        cluster_id=cluster.id,
        name="host1",
        driver="simulator",
        address="172.31.240.1",
        port=8445,
        tunnel_port=8446,
        relay_port=8447,
        cpus=16,
        memory_mib=memory_mib,
        state="Up",
    )
    session.add(host)
    session.flush()
    pool = StoragePool(zone_id=zone.id, host_id=host.id, name="primary", path="primary", capacity=1000 * GIB)
    template = Template(
        account_id=account.id,
        domain_id=account.domain_id,
        zone_id=zone.id,
        name="tiny",
        display_text="tiny",
        url="http://172.31.240.1/tiny.qcow2",
        state=TemplateState.ready,
        password_enabled=True,
        virtual_size=64 * 1024**2,
        sha256="0" * 64,
    )
    session.add_all([pool, template])
    session.flush()
    cloud.zone_id, cloud.host_id, cloud.pool_id = zone.id, host.id, pool.id
    cloud.template_id, cloud.account_id = template.id, account.id
    cloud.domain_id, cloud.user_id = account.domain_id, user.id
