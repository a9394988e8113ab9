"""A simulated cloud in a fresh store: its rows, as jobs would have left them, and keys to get in."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from mgmt.api.auth import SECRET_KEY_CONTEXT
from mgmt.drivers.simulated_machine import TEMPLATE_BYTES
from mgmt.model.resources import DEFAULT_LIMITS, UNLIMITED, OwnerKind, ResourceType, limit_item
from mgmt.model.states import TemplateState, VmKind
from mgmt.ops import names
from mgmt.ops.compute.instance_names import count_anew
from mgmt.ops.runtime import Runtime
from mgmt.ops.saga import Saga, run_directly
from mgmt.ops.workflows import run
from mgmt.sim.bulk import Batch
from mgmt.sim.places import GIB, Places, add_places
from mgmt.sim.plan import Plan
from mgmt.sim.tenants import Basics, add_tenants
from mgmt.store.defaults import ADMIN, ISOLATED_OFFERING, SYSTEM_OFFERINGS
from mgmt.store.tables import (
    Account,
    ConfigurationValue,
    DiskOffering,
    NetworkOffering,
    ResourceCount,
    ServiceOffering,
    Template,
    User,
    Vm,
)

VM_OFFERING, DISKS_OFFERING, TENANT = "Tiny Instance", "Small", "tenant1"


@dataclass(frozen=True)
class Keys:
    """API keys of a user."""

    key: str
    secret: str


def make_cloud(runtime: Runtime, plan: Plan) -> Mapping[str, Keys]:
    """Fill a store that has only its defaults; keys of `admin` and `tenant1`. Raises WrongSize.

    The zone's own system VMs are made by their workflow, all else in bulk: the runtime's simulator then
    knows nothing of it (`mgmt.sim.memory`).
    """
    plan.check()
    database = runtime.database
    with database.writing() as session:
        batch = Batch()
        places = add_places(batch, plan)
        _add_limits(batch)
        _add_template(batch, session, places)
        batch.insert(session)
    run(runtime, Saga(run_directly), names.ENSURE_SYSTEM_VMS, {"zone_id": places.zone_id})
    with database.writing() as session:
        batch = Batch()
        add_tenants(batch, plan, _basics(session), places)
        batch.insert(session)
        count_anew(session)
        keys = {name: _new_keys(runtime, session, name) for name in (ADMIN, TENANT)}
    database.analyze()
    return keys


def _add_limits(batch: Batch) -> None:
    """Tenants may have as much as they like: the defaults of CloudStack are for smaller ones."""
    for owner in (OwnerKind.account, OwnerKind.domain):
        for kind in DEFAULT_LIMITS[owner]:
            name = limit_item(kind, owner)
            batch.add(ConfigurationValue, scope="global", scope_id="", name=name, value=str(UNLIMITED))


def _add_template(batch: Batch, session: Session, places: Places) -> None:
    """A template that the storage VM will say it has, the administrator's, for everybody."""
    admin = session.scalars(select(Account).where(Account.name == ADMIN)).one()
    batch.add(
        Template,
        account_id=admin.id,
        domain_id=admin.domain_id,
        zone_id=places.zone_id,
        name="tiny",
        display_text="A template for simulated VMs",
        url="http://198.18.0.1/tiny.qcow2",
        state=TemplateState.ready,
        percent=100,
        is_public=True,
        is_featured=True,
        size=TEMPLATE_BYTES,
        virtual_size=GIB,
        sha256="0" * 64,
    )
    for owner in (admin.id, admin.domain_id):
        for kind, used in ((ResourceType.template, 1), (ResourceType.secondary_storage, TEMPLATE_BYTES)):
            batch.add(ResourceCount, owner_id=owner, type=int(kind), used=used)


def _basics(session: Session) -> Basics:
    def row(table: Any, name: str) -> Any:
        return session.scalars(select(table).where(table.name == name)).one()

    vm, disk, template = (
        row(ServiceOffering, VM_OFFERING),
        row(DiskOffering, DISKS_OFFERING),
        row(Template, "tiny"),
    )
    return Basics(
        root_domain=template.domain_id,
        network_offering=row(NetworkOffering, ISOLATED_OFFERING).id,
        router_offering=row(ServiceOffering, SYSTEM_OFFERINGS[VmKind.router][0]).id,
        vm_offering=vm.id,
        cpus=vm.cpus,
        memory=vm.memory,
        disk_offering=disk.id,
        disk_bytes=disk.disk_bytes,
        template=template.id,
        template_bytes=template.virtual_size,
        names=session.scalar(select(func.count(Vm.id))) or 0,
    )


def _new_keys(runtime: Runtime, session: Session, name: str) -> Keys:
    keys = Keys(secrets.token_urlsafe(48), secrets.token_urlsafe(48))
    user = session.scalars(select(User).where(User.username == name)).one()
    user.api_key = keys.key
    user.secret_key = runtime.seal.close(keys.secret, SECRET_KEY_CONTEXT)
    return keys
