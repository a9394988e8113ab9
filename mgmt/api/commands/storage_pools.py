"""Primary storage: directories on hosts."""

from typing import Annotated
from urllib.parse import urlsplit

from sqlalchemy import select

from mgmt.agents.host import HostEndpoint
from mgmt.api.access import ROOT, Ref
from mgmt.api.call import Call
from mgmt.api.commands.hosts import ask_host, find_driver, read_tags
from mgmt.api.commands.zones import refuse_if_used
from mgmt.api.lists import Equals, ListCommand
from mgmt.api.params import wrong_value
from mgmt.api.registry import DONE, Response, Spec, SyncCommand
from mgmt.api.responses.hosts import STORAGE_POOL
from mgmt.model.errors import MissingParameter, ParameterError
from mgmt.model.pools import SCHEMES, SUPPORTED
from mgmt.store.events import record_event
from mgmt.store.tables import Cluster, Host, Pod, StoragePool, Volume, Zone

SERVICE = {True: "Up", False: "Disabled"}


class ListStoragePools(ListCommand, kw_only=True, frozen=True):
    """Lists primary storage."""

    spec = Spec(answer=STORAGE_POOL, access=ROOT)
    searched = (StoragePool.name,)

    name: Annotated[str | None, Equals(StoragePool.name)] = None
    zoneid: Annotated[str | None, Ref(Zone), Equals(StoragePool.zone_id)] = None
    podid: Annotated[str | None, Ref(Pod), Equals(StoragePool.pod_id)] = None
    clusterid: Annotated[str | None, Ref(Cluster), Equals(StoragePool.cluster_id)] = None
    hostid: Annotated[str | None, Ref(Host), Equals(StoragePool.host_id)] = None
    status: Annotated[str | None, "Up, Disabled or Maintenance", Equals(StoragePool.state)] = None
    scope: Annotated[str | None, "HOST", Equals(StoragePool.scope)] = None
    path: Annotated[str | None, "the pool's name on its host", Equals(StoragePool.path)] = None


class CreateStoragePool(SyncCommand, kw_only=True, frozen=True):
    """Adds a directory of a host as primary storage."""

    spec = Spec(answer=STORAGE_POOL, access=ROOT, writes=False, wakes=True)

    name: str
    zoneid: Annotated[str, Ref(Zone)]
    url: Annotated[str, "file://<host name>/<pool>, the pool as the host's agent calls it"]
    podid: Annotated[str | None, Ref(Pod)] = None
    clusterid: Annotated[str | None, Ref(Cluster)] = None
    hostid: Annotated[str | None, Ref(Host)] = None
    scope: Annotated[str, "HOST, the only scope supported"] = "HOST"

    def run(self, call: Call) -> StoragePool:
        """Ask the host for its pools, with no transaction open; then insert."""
        if self.scope.upper() != "HOST":
            raise wrong_value("scope", self.scope, "HOST, the only scope supported")
        host_name, path = read_pool_url(self.url)
        host = self._host(call, host_name)
        cluster = call.session.get_one(Cluster, host.cluster_id)
        endpoint = HostEndpoint(
            id=host.id, name=host.name, address=host.address, port=host.port, tunnel_port=host.tunnel_port
        )
        pools = ask_host(find_driver(call, cluster), endpoint).pools
        if path not in pools:
            known = ", ".join(sorted(pools)) or "none"
            raise wrong_value("url", self.url, f"a pool that host {host.name} has ({known})")
        total, free = pools[path]
        pool = StoragePool(
            zone_id=host.zone_id,
            pod_id=host.pod_id,
            cluster_id=host.cluster_id,
            host_id=host.id,
            name=self.name,
            path=path,
            capacity=total,
            used=total - free,
        )
        self._insert(call, pool, host)
        return pool

    def _host(self, call: Call, name: str) -> Host:
        host = call.row_or_none(Host, self.hostid)
        if host is None:
            query = select(Host).where(Host.name == name, Host.zone_id == self.zoneid, Host.removed.is_(None))
            host = call.session.scalars(query).first()
        if host is None:
            text = "Unable to execute API command createstoragepool due to missing parameter hostid"
            raise MissingParameter(text)
        if host.zone_id != self.zoneid:
            raise ParameterError(f"Host {host.name} is not in zone {self.zoneid}; give the host's own zone")
        return host

    def _insert(self, call: Call, pool: StoragePool, host: Host) -> None:
        with call.context.database.writing() as session:
            taken = select(StoragePool.name).where(
                StoragePool.host_id == host.id, StoragePool.path == pool.path, StoragePool.removed.is_(None)
            )
            existing = session.scalar(taken)
            if existing is not None:
                raise ParameterError(
                    f"Pool {pool.path} of host {host.name} is storage pool {existing} already"
                )
            session.merge(pool)
            record_event(
                session,
                "STORAGE.POOL.CREATE",
                f"Storage pool {pool.name} on host {host.name} was added",
                user=call.caller.user,
                account_id=call.caller.account.id,
                domain_id=call.caller.domain.id,
                resource_type="StoragePool",
                resource_id=pool.id,
            )


class UpdateStoragePool(SyncCommand, kw_only=True, frozen=True):
    """Updates primary storage: its name, its tags, whether it takes new volumes."""

    spec = Spec(answer=STORAGE_POOL, access=ROOT, event="UPDATE.STORAGE.POOL")

    id: Annotated[str, Ref(StoragePool)]
    name: str | None = None
    tags: Annotated[list[str] | None, "its tags, comma separated, for offerings that ask for them"] = None
    enabled: Annotated[bool | None, "false: no new volumes; true: again"] = None

    def run(self, call: Call) -> StoragePool:
        """Change what was sent."""
        pool = call.row(StoragePool, self.id)
        if self.name:
            pool.name = self.name
        if self.tags is not None:
            pool.tags = read_tags("tags", self.tags)
        if self.enabled is not None:
            if pool.state not in SERVICE.values():
                text = f"Storage pool {pool.name} is in {pool.state}; cancelStorageMaintenance ends that"
                raise ParameterError(text)
            pool.state = SERVICE[self.enabled]
        return pool


class DeleteStoragePool(SyncCommand, kw_only=True, frozen=True):
    """Deletes primary storage that has no volumes."""

    spec = Spec(access=ROOT, event="STORAGE.POOL.DELETE")

    id: Annotated[str, Ref(StoragePool)]
    forced: Annotated[bool, "accepted; volumes that are destroyed are gone already, others stay"] = False

    def run(self, call: Call) -> Response:
        """Refuse while volumes are on it."""
        pool = call.row(StoragePool, self.id)
        refuse_if_used(
            call.session, Volume, Volume.pool_id == pool.id, f"Storage pool {pool.name}", "volumes"
        )
        pool.removed = call.now()
        return DONE


def read_pool_url(url: str) -> tuple[str, str]:
    """Host name and pool name of `file://host/pool`. Raises `ParameterError`."""
    parts = urlsplit(url)
    kind = SCHEMES.get(parts.scheme.lower())
    if kind is not None and kind not in SUPPORTED:
        # The rest of such a URL may hold a secret.
        words = f"file://<host name>/<pool>; hosts have no driver for {kind} storage"
        raise wrong_value("url", f"{parts.scheme}://…", words)
    path = parts.path.strip("/")
    if parts.scheme != "file" or not path or "/" in path:
        raise wrong_value("url", url, "file://<host name>/<pool>")
    return parts.netloc, path
