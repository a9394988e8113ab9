"""A tenant of the simulated cloud: calls to the API in its name, with jobs that are done when they answer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

from mgmt.alloc.counted import recount
from mgmt.alloc.limits import counts_of
from mgmt.api.access import Caller
from mgmt.api.app import load_commands
from mgmt.api.call import Context
from mgmt.api.dispatch import dispatch, find_command
from mgmt.api.params import Form
from mgmt.config import default_config
from mgmt.model.resources import ResourceType
from mgmt.model.states import JobStatus
from mgmt.ops.saga import StepFailed
from mgmt.store.defaults import ISOLATED_OFFERING
from mgmt.store.tables import (
    Account,
    Domain,
    Job,
    Network,
    NetworkOffering,
    ResourceLimit,
    ServiceOffering,
    Template,
    User,
)
from tests.unit.mgmt.small_cloud import SmallCloud


@dataclass
class DirectJobs:
    """Jobs that are run to their end before the command answers; a failed one is undone."""

    cloud: SmallCloud

    def start(self, job_id: str) -> None:
        job = self.cloud.row(Job, job_id)
        try:
            self.cloud.run(job.workflow, **job.arguments)
            status, words = JobStatus.succeeded, None
        except StepFailed as failure:
            status, words = JobStatus.failed, str(failure)
        with self.cloud.runtime.database.writing() as session:
            row = session.get_one(Job, job_id)
            row.status, row.error_text = status, words


@dataclass
class Tenant:
    """An account `bob` in the domain ROOT/shop, and calls in its name."""

    cloud: SmallCloud
    context: Context
    caller: Caller

    def call(self, command: str, **parameters: Any) -> dict[str, Any]:
        form = Form({name: str(value) for name, value in parameters.items() if value is not None})
        return dispatch(self.context, self.caller, find_command(command), form)

    def id_of(self, table: Any, name: str) -> str:
        with self.cloud.runtime.database.reading() as session:
            return str(session.scalars(select(table.id).where(table.name == name)).one())

    def mine(self, table: Any) -> list[Any]:
        return [row for row in self.cloud.rows(table) if row.account_id == self.caller.account.id]

    def network(self) -> str:
        made = self.call(
            "createNetwork",
            name=f"net{len(self.cloud.rows(Network))}",
            zoneid=self.cloud.zone_id,
            networkofferingid=self.id_of(NetworkOffering, ISOLATED_OFFERING),
        )
        return str(made["network"]["id"])

    def deploy(self, network_id: str, **more: Any) -> dict[str, Any]:
        return self.call(
            "deployVirtualMachine",
            zoneid=self.cloud.zone_id,
            templateid=self.cloud.template_id,
            serviceofferingid=self.id_of(ServiceOffering, "Tiny Instance"),
            networkids=network_id,
            **more,
        )

    def add_user(self, account: Account) -> User:
        with self.cloud.runtime.database.writing() as session:
            user = User(account_id=account.id, username=account.name, password="x")
            session.add(user)
        return user

    def limit(self, kind: ResourceType, most: int) -> None:
        with self.cloud.runtime.database.writing() as session:
            session.merge(ResourceLimit(owner_id=self.caller.account.id, type=kind, most=most))

    def counted(self) -> list[dict[ResourceType, int]]:
        """The counts of bob and of the domain."""
        with self.cloud.runtime.database.reading() as session:
            found = counts_of(session, [self.caller.account.id, self.caller.domain.id])
        return list(found.values())

    def real(self) -> dict[ResourceType, int]:
        with self.cloud.runtime.database.reading() as session:
            return recount(session, [self.caller.account.id])[self.caller.account.id]


def make_tenant(cloud: SmallCloud, folder: Path) -> Tenant:
    """The account, its domain, its user; the template is everybody's."""
    load_commands()
    with cloud.runtime.database.writing() as session:
        session.get_one(Template, cloud.template_id).is_public = True
        domain = Domain(name="shop", path="/shop/", parent_id=cloud.domain_id)
        session.add(domain)
        session.flush()
        account = Account(name="bob", domain_id=domain.id)
        session.add(account)
        session.flush()
        user = User(account_id=account.id, username="bob", password="x")
        session.add(user)
    config = default_config(folder)
    context = Context(cloud.runtime.database, cloud.runtime.seal, DirectJobs(cloud), config)
    return Tenant(cloud, context, Caller(user=user, account=account, domain=domain))
