"""Primary storage: directories on hosts, of one alone or shared."""

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from sqlalchemy import Select, delete, or_, select
from sqlalchemy.orm import Session

from mgmt.agents.host import HostEndpoint
from mgmt.alloc.pools import is_reached_from
from mgmt.api.absent import PoolBytes, Rate
from mgmt.api.access import ROOT, Ref
from mgmt.api.call import Call
from mgmt.api.commands.hosts import ask_host, find_driver, read_tags
from mgmt.api.commands.zones import refuse_if_used
from mgmt.api.lists import Equals, ListCommand
from mgmt.api.params import NoEffect, Unsupported, wrong_value
from mgmt.api.registry import DONE, Response, Spec, SyncCommand
from mgmt.api.responses.hosts import STORAGE_POOL
from mgmt.model.errors import MissingParameter, ParameterError
from mgmt.model.pools import SCHEMES, TRAITS, PoolKind
from mgmt.ops.runtime import Runtime
from mgmt.ops.storage.shared_pools import connect_new, give_up, hosts_in_scope, note_reached
from mgmt.store.events import record_event
from mgmt.store.tables import Cluster, Host, Pod, PoolHost, StoragePool, Volume, Zone

PROVIDER = "DefaultPrimary"
SHARED_PATH = re.compile(r"(/[A-Za-z0-9_][A-Za-z0-9._-]*)+")
SERVICE = {True: "Up", False: "Disabled"}


class ListStoragePools(ListCommand, kw_only=True, frozen=True):
    """Lists primary storage."""

    spec = Spec(answer=STORAGE_POOL, access=ROOT)
    searched = (StoragePool.name,)

    name: Annotated[str | None, Equals(StoragePool.name)] = None
    zoneid: Annotated[str | None, Ref(Zone), Equals(StoragePool.zone_id)] = None
    podid: Annotated[str | None, Ref(Pod), Equals(StoragePool.pod_id)] = None
    clusterid: Annotated[str | None, Ref(Cluster), Equals(StoragePool.cluster_id)] = None
    hostid: Annotated[str | None, Ref(Host), "those that this host reaches"] = None
    status: Annotated[str | None, "Up, Disabled or Maintenance", Equals(StoragePool.state)] = None
    scope: Annotated[str | None, "HOST, CLUSTER or ZONE", Equals(StoragePool.scope)] = None
    path: Annotated[
        str | None, "the pool's name on its host, or the path of a shared one", Equals(StoragePool.path)
    ] = None
    ipaddress: Annotated[str | None, "the address of the host whose disks it is on"] = None

    def narrow(self, call: Call, query: Select[Any]) -> Select[Any]:
        """Those of a host: its own, and the shared ones that it reaches."""
        if self.ipaddress is not None:
            hosts = select(Host.id).where(Host.address == self.ipaddress)
            query = query.where(StoragePool.host_id.in_(hosts))
        return query if self.hostid is None else query.where(is_reached_from(self.hostid))


class CreateStoragePool(SyncCommand, kw_only=True, frozen=True):
    """Adds a directory as primary storage: one of a host's own, or one that is mounted on several hosts.

    A shared one is checked on every host of its cluster or zone.
    """

    spec = Spec(answer=STORAGE_POOL, access=ROOT, writes=False, wakes=True)

    name: str
    zoneid: Annotated[str, Ref(Zone)]
    url: Annotated[
        str,
        "file://<host name>/<pool>, the pool as the host's agent calls it, or"
        " SharedMountPoint://localhost/<path of the folder on all hosts>",
    ]
    podid: Annotated[str | None, Ref(Pod)] = None
    clusterid: Annotated[str | None, Ref(Cluster), "whose hosts reach it, for the scope CLUSTER"] = None
    hostid: Annotated[str | None, Ref(Host)] = None
    scope: Annotated[str | None, "HOST for file; CLUSTER, or ZONE, for SharedMountPoint"] = None
    provider: Annotated[str, "DefaultPrimary, the only one"] = PROVIDER
    hypervisor: Annotated[str | None, NoEffect("a pool serves all hosts of its scope")] = None
    tags: Annotated[list[str] | None, "its tags, comma separated, for offerings that ask for them"] = None
    capacitybytes: PoolBytes = None
    capacityiops: Rate = None
    managed: Annotated[bool, Unsupported("a pool is a folder on a host")] = False

    def run(self, call: Call) -> StoragePool:
        """Ask the hosts, with no transaction open; then insert."""
        if self.provider != PROVIDER:
            raise wrong_value("provider", self.provider, f"{PROVIDER}, the only one")
        kind, host_name, path = read_pool_url(self.url)
        tags = read_tags("tags", self.tags or [])
        pool = self._shared(call, path) if TRAITS[kind].is_shared else self._local(call, host_name, path)
        pool.tags, pool.type = tags, kind
        hosts = [] if pool.host_id is not None else hosts_in_scope(call.session, pool)
        self._refuse_known(call.session, pool)
        if hosts:
            space = connect_new(call.part(Runtime), pool, hosts)
            pool.capacity, pool.used = space.total, space.total - space.free
        try:
            self._insert(call, pool, hosts)
        except ParameterError:
            give_up(call.part(Runtime), pool, hosts)
            raise
        return pool

    def _local(self, call: Call, host_name: str, path: str) -> StoragePool:
        if (self.scope or "HOST").upper() != "HOST":
            raise wrong_value("scope", self.scope or "", "HOST, for a directory of one host")
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
        return StoragePool(
            zone_id=host.zone_id,
            pod_id=host.pod_id,
            cluster_id=host.cluster_id,
            host_id=host.id,
            name=self.name,
            path=path,
            capacity=total,
            used=total - free,
        )

    def _shared(self, call: Call, path: str) -> StoragePool:
        scope = (self.scope or ("CLUSTER" if self.clusterid else "ZONE")).upper()
        if scope not in ("CLUSTER", "ZONE"):
            raise wrong_value("scope", scope, "CLUSTER or ZONE, for a directory that hosts share")
        cluster = call.row_or_none(Cluster, self.clusterid) if scope == "CLUSTER" else None
        if scope == "CLUSTER" and (cluster is None or cluster.zone_id != self.zoneid):
            raise ParameterError("Send clusterid of a cluster in the zone, or scope=ZONE")
        pool = StoragePool(
            zone_id=self.zoneid,
            pod_id=cluster.pod_id if cluster else None,
            cluster_id=cluster.id if cluster else None,
            name=self.name,
            path=path,
            scope=scope,
        )
        if not hosts_in_scope(call.session, pool):
            where = f"cluster {cluster.name}" if cluster else "the zone"
            raise ParameterError(f"There is no host in {where} that could have {path}; addHost first")
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
        if self.podid not in (None, host.pod_id) or self.clusterid not in (None, host.cluster_id):
            raise ParameterError(
                f"Host {host.name} is in another pod or cluster; leave podid and clusterid away"
            )
        return host

    def _refuse_known(self, session: Session, pool: StoragePool) -> None:
        existing = session.scalar(
            select(StoragePool.name).where(
                StoragePool.host_id == pool.host_id if pool.host_id else StoragePool.host_id.is_(None),
                StoragePool.zone_id == pool.zone_id,
                StoragePool.path == pool.path,
                StoragePool.removed.is_(None),
            )
        )
        if existing is not None:
            raise ParameterError(f"{pool.path} is storage pool {existing} already")

    def _insert(self, call: Call, pool: StoragePool, hosts: list[Host]) -> None:
        with call.context.database.writing() as session:
            self._refuse_known(session, pool)
            session.merge(pool)
            session.flush()
            for host in hosts:
                if host.state == "Up":
                    note_reached(session, pool.id, host.id)
            _record(call, session, pool, "STORAGE.POOL.CREATE", "added")


class UpdateStoragePool(SyncCommand, kw_only=True, frozen=True):
    """Updates primary storage: its name, its tags, whether it takes new volumes."""

    spec = Spec(answer=STORAGE_POOL, access=ROOT, event="UPDATE.STORAGE.POOL")

    id: Annotated[str, Ref(StoragePool)]
    name: str | None = None
    tags: Annotated[list[str] | None, "its tags, comma separated, for offerings that ask for them"] = None
    enabled: Annotated[bool | None, "false: no new volumes; true: again"] = None
    capacitybytes: PoolBytes = None
    capacityiops: Rate = None

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
    """Deletes primary storage that has no volumes. Of a shared directory its templates go too."""

    spec = Spec(access=ROOT, writes=False, wakes=True)

    id: Annotated[str, Ref(StoragePool)]
    forced: Annotated[bool, NoEffect("volumes that are destroyed are gone already, others stay")] = False

    def run(self, call: Call) -> Response:
        """Refuse while volumes are on it; then have the hosts forget a shared one."""
        with call.context.database.writing() as session:
            pool = session.get_one(StoragePool, self.id)
            item = f"Storage pool {pool.name}"
            refuse_if_used(
                session,
                Volume,
                or_(Volume.pool_id == pool.id, Volume.target_pool_id == pool.id),
                item,
                "volumes",
            )
            connected = select(Host).join(PoolHost, PoolHost.host_id == Host.id)
            hosts = session.scalars(connected.where(PoolHost.pool_id == pool.id)).all()
            session.execute(delete(PoolHost).where(PoolHost.pool_id == pool.id))
            pool.removed = call.now()
            _record(call, session, pool, "STORAGE.POOL.DELETE", "deleted")
        give_up(call.part(Runtime), pool, [host for host in hosts if host.state == "Up"])
        return DONE


def read_pool_url(url: str) -> tuple[PoolKind, str, str]:
    """Kind, host name and pool name of `file://host/pool`; or `SharedMountPoint://localhost/path`.

    Raises `ParameterError`.
    """
    parts = urlsplit(url)
    kind = SCHEMES.get(parts.scheme.lower())
    if kind is not None and not TRAITS[kind].is_supported:
        # The rest of such a URL may hold a secret.
        known = "file://<host name>/<pool> or SharedMountPoint://localhost/<path>"
        words = f"{known}; hosts have no driver for {kind} storage"
        raise wrong_value("url", f"{parts.scheme}://…", words)
    if kind == PoolKind.shared_directory:
        if parts.netloc not in ("", "localhost") or not SHARED_PATH.fullmatch(parts.path):
            raise wrong_value("url", url, "SharedMountPoint://localhost/<path of letters, digits and ._->")
        return kind, "", parts.path
    path = parts.path.strip("/")
    if kind is None or not path or "/" in path:
        raise wrong_value("url", url, "file://<host name>/<pool>")
    return kind, parts.netloc, path


def _record(call: Call, session: Session, pool: StoragePool, kind: str, word: str) -> None:
    """An event, where the command's own would be written before the hosts have answered."""
    record_event(
        session,
        kind,
        f"Storage pool {pool.name} ({pool.path}) was {word}",
        user_id=call.caller.user.id,
        account_id=call.caller.account.id,
        domain_id=call.caller.domain.id,
        resource_type="StoragePool",
        resource_id=pool.id,
    )
