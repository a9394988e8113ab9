"""Hosts and storage pools out of service and back; reconnecting hosts."""

from typing import Annotated

from mgmt.api.access import ROOT, Ref
from mgmt.api.call import Call
from mgmt.api.registry import AsyncCommand, Spec
from mgmt.api.responses.hosts import HOST, STORAGE_POOL
from mgmt.model.errors import ParameterError
from mgmt.ops import names
from mgmt.ops.infrastructure.maintenance import (
    ENABLED,
    MAINTENANCE,
    PREPARING,
    refuse_while_pool_used,
)
from mgmt.store.tables import Host, Job, StoragePool

UP = "Up"


class PrepareHostForMaintenance(AsyncCommand, kw_only=True, frozen=True):
    """Takes a host out of service: nothing new is placed on it, and its VMs move to other hosts.

    The job fails, and the host stays in service, when one of them finds no other host.
    """

    spec = Spec(answer=HOST, access=ROOT, event="MAINT.PREPARE")

    id: Annotated[str, Ref(Host)]

    def run(self, call: Call) -> Job:
        """Close the host to new VMs in this transaction, so that none slips in."""
        host = call.row(Host, self.id)
        if host.resource_state in (PREPARING, MAINTENANCE):
            raise ParameterError(f"Host {host.name} is in {host.resource_state} already")
        host.resource_state = PREPARING
        return call.submit(names.PREPARE_HOST, {"host_id": host.id}, kind="Host", about=host)


class CancelHostMaintenance(AsyncCommand, kw_only=True, frozen=True):
    """Puts a host back into service."""

    spec = Spec(answer=HOST, access=ROOT, event="MAINT.CANCEL", wakes=True)

    id: Annotated[str, Ref(Host)]

    def run(self, call: Call) -> Job:
        """Open the host; the reconcile loop starts what should run."""
        host = call.row(Host, self.id)
        if host.resource_state not in (PREPARING, MAINTENANCE):
            raise ParameterError(f"Host {host.name} is {host.resource_state}, not in maintenance")
        host.resource_state = ENABLED
        return call.finish(kind="Host", about=host)


class ReconnectHost(AsyncCommand, kw_only=True, frozen=True):
    """Asks a host's agent again; the job fails with its words if it does not answer."""

    spec = Spec(answer=HOST, access=ROOT, event="HOST.RECONNECT")

    id: Annotated[str, Ref(Host)]

    def run(self, call: Call) -> Job:
        """Submit; asking may take long."""
        host = call.row(Host, self.id)
        return call.submit(names.RECONNECT_HOST, {"host_id": host.id}, kind="Host", about=host)


class EnableStorageMaintenance(AsyncCommand, kw_only=True, frozen=True):
    """Takes a storage pool out of service; VMs that run with disks on it must be stopped first."""

    spec = Spec(
        answer=STORAGE_POOL,
        access=ROOT,
        event="MAINT.PREPARE.PS",
        envelope="prepareprimarystorageformaintenanceresponse",
    )

    id: Annotated[str, Ref(StoragePool)]

    def run(self, call: Call) -> Job:
        """Close the pool: no volume is placed on it, no VM starts with one that is there."""
        pool = call.row(StoragePool, self.id)
        if pool.state != UP:
            raise ParameterError(f"Storage pool {pool.name} is {pool.state}; only one that is Up can do that")
        refuse_while_pool_used(call.session, pool)
        pool.state = MAINTENANCE
        return call.finish(kind="StoragePool", about=pool)


class CancelStorageMaintenance(AsyncCommand, kw_only=True, frozen=True):
    """Puts a storage pool back into service."""

    spec = Spec(
        answer=STORAGE_POOL,
        access=ROOT,
        event="MAINT.CANCEL.PS",
        envelope="cancelprimarystoragemaintenanceresponse",
    )

    id: Annotated[str, Ref(StoragePool)]

    def run(self, call: Call) -> Job:
        """Open the pool."""
        pool = call.row(StoragePool, self.id)
        if pool.state != MAINTENANCE:
            raise ParameterError(f"Storage pool {pool.name} is {pool.state}, not in maintenance")
        pool.state = UP
        return call.finish(kind="StoragePool", about=pool)
