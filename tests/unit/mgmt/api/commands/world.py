"""A small cloud in a database of its own, and calls to its API as the dispatcher takes them."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import select

from mgmt.api.access import Caller
from mgmt.api.app import load_commands
from mgmt.api.call import Context
from mgmt.api.dispatch import dispatch, find_command
from mgmt.api.params import Form
from mgmt.bootstrap import open_store
from mgmt.config import default_config, save_config
from mgmt.jobs.recorded import RecordedJobs
from mgmt.model.states import AccountType, AddressState, Allocation, TemplateState, VmKind, VmState
from mgmt.store import tables
from mgmt.store.database import Database
from mgmt.store.tables import Account, Domain, User


@dataclass
class World:
    """Zone with everything a tenant needs; callers `admin`, `alice` and `bob` (tenants in ROOT)."""

    folder: Path
    context: Context
    callers: dict[str, Caller] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    def call(self, command: str, caller: str = "alice", **parameters: Any) -> dict[str, Any]:
        """The body of the answer. Raises CloudError."""
        form = Form({name: str(value) for name, value in parameters.items()})
        return dispatch(self.context, self.callers[caller], find_command(command), form)

    def add(self, *rows: Any) -> None:
        """Insert rows."""
        with self.context.database.writing() as session:
            session.add_all(rows)

    def get(self, table: Any, row_id: str) -> Any:
        """A row as it is now."""
        with self.context.database.reading() as session:
            return session.get_one(table, row_id)

    def last_job(self) -> tables.Job:
        """The job that was submitted last."""
        started = self.context.jobs.started if isinstance(self.context.jobs, RecordedJobs) else []
        with self.context.database.reading() as session:
            job = session.get(tables.Job, started[-1]) if started else None
        assert job is not None
        return job

    def network(self, caller: str = "alice", name: str = "net") -> tables.Network:
        """An implemented network with a source NAT address and one more address."""
        made = self.call(
            "createNetwork",
            caller,
            name=name,
            zoneid=self.ids["zone"],
            networkofferingid=self.ids["network_offering"],
        )["network"]
        with self.context.database.writing() as session:
            row = session.get_one(tables.Network, made["id"])
            row.state = "Implemented"
        owner = self.callers[caller]
        taken = len(self.ids)
        for at, is_source in ((taken, True), (taken + 1, False)):
            address = tables.PublicAddress(
                zone_id=self.ids["zone"],
                range_id=self.ids["range"],
                address=f"198.51.100.{at + 10}",
                sort=at,
                state=AddressState.allocated,
                account_id=owner.account.id,
                domain_id=owner.domain.id,
                network_id=made["id"],
                is_source_nat=is_source,
            )
            self.add(address)
            self.ids[f"{name}-{'source' if is_source else 'extra'}"] = address.id
        found: tables.Network = self.get(tables.Network, made["id"])
        return found

    def vm(
        self, network: tables.Network, caller: str = "alice", name: str = "web", at: int = 10
    ) -> tables.Vm:
        """A running VM with one NIC in the network."""
        owner = self.callers[caller]
        mine = {"account_id": owner.account.id, "domain_id": owner.domain.id}
        vm = tables.Vm(
            **mine,
            kind=VmKind.user,
            name=name,
            instance_name=f"i-{name}-{at}",
            zone_id=self.ids["zone"],
            offering_id=self.ids["service_offering"],
            state=VmState.running,
        )
        self.add(vm)
        nic = tables.Nic(
            **mine,
            vm_id=vm.id,
            network_id=network.id,
            mac=f"02:00:00:00:00:{at:02x}",
            address=f"10.1.1.{at}",
            is_default=True,
        )
        self.add(nic)
        return vm


def make_world(folder: Path, url: str = "") -> World:
    """A fresh world below `folder`. `url` is another database's than one there."""
    load_commands()
    if url:
        save_config(folder, msgspec.structs.replace(default_config(folder), database_url=url))
    opened = open_store(folder)
    context = Context(database=opened.database, seal=opened.seal, jobs=RecordedJobs(), config=opened.config)
    world = World(folder, context)
    with opened.database.writing() as session:
        domain = session.scalars(select(Domain).where(Domain.path == "/")).one()
        for name, kind in (
            ("admin", AccountType.root_admin),
            ("alice", AccountType.user),
            ("bob", AccountType.user),
        ):
            account = session.scalar(select(Account).where(Account.name == name))
            if account is None:
                account = Account(name=name, domain_id=domain.id, type=kind)
                session.add(account)
                session.flush()
            user = session.scalar(select(User).where(User.account_id == account.id))
            if user is None:
                user = User(account_id=account.id, username=name, password="x")
                session.add(user)
                session.flush()
            world.callers[name] = Caller(user=user, account=account, domain=domain)
        _add_zone(world, session)
    opened.database.close()
    return world


def open_world(made: World, folder: Path, url: str = "") -> World:
    """A copy of a world's folder, opened: same ids, own database. `url` is a copy of the world's."""
    config = msgspec.structs.replace(
        made.context.config,
        database_url=url or f"sqlite:///{folder}/mgmt/mgmt.db",
        key_file=folder / "mgmt/seal.key",
    )
    context = replace(
        made.context, database=Database(config.database_url), jobs=RecordedJobs(), config=config
    )
    return World(folder, context, dict(made.callers), dict(made.ids))


def _add_zone(world: World, session: Any) -> None:
    zone = tables.Zone(name="z", dns1="9.9.9.9", internal_dns1="9.9.9.9", allocation=Allocation.enabled)
    session.add(zone)
    session.flush()
    physical = tables.PhysicalNetwork(zone_id=zone.id, name="p", state="Enabled")
    store = tables.ImageStore(zone_id=zone.id, name="s")
    session.add_all([physical, store])
    session.flush()
    addresses = tables.VlanRange(
        zone_id=zone.id, physical_network_id=physical.id, gateway="198.51.100.1", netmask="255.255.255.0",
        start_ip="198.51.100.200", end_ip="198.51.100.201",
    )  # fmt: skip
    session.add(addresses)
    session.flush()
    for at in (200, 201):
        session.add(
            tables.PublicAddress(
                zone_id=zone.id, range_id=addresses.id, address=f"198.51.100.{at}", sort=1000 + at
            )
        )
    admin = world.callers["admin"]
    template = tables.Template(
        account_id=admin.account.id, domain_id=admin.domain.id, zone_id=zone.id, name="t", display_text="t",
        url="http://example.org/t", is_public=True, is_featured=True, password_enabled=True,
        state=TemplateState.ready, virtual_size=1024**3,
    )  # fmt: skip
    session.add(template)
    session.flush()
    offerings = {
        "network_offering": select(tables.NetworkOffering.id).where(
            tables.NetworkOffering.name == "DefaultIsolatedNetworkOfferingWithSourceNatService"
        ),
        "service_offering": select(tables.ServiceOffering.id).where(
            tables.ServiceOffering.name == "Tiny Instance"
        ),
        "disk_offering": select(tables.DiskOffering.id).where(tables.DiskOffering.customized),
    }
    world.ids |= {"zone": zone.id, "range": addresses.id, "template": template.id}
    world.ids |= {name: session.scalar(query) for name, query in offerings.items()}
