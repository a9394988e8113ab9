"""What hosts say of themselves, kept in their rows and those of their pools."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from mgmt.store.tables import Host, StoragePool
from systemvm.spec.host import HostInfo


def store_info(session: Session, host: Host, info: HostInfo) -> None:
    """Take over sizes, version and ports of a host, and the space of its pools."""
    host.tunnel_port, host.relay_port = info.tunnel_port, info.console_relay_port
    host.acceleration, host.version = info.acceleration, info.version
    host.cpus, host.cpu_mhz, host.memory_mib = info.cpus, info.cpu_mhz, info.memory_mib
    pools = select(StoragePool).where(StoragePool.host_id == host.id, StoragePool.removed.is_(None))
    for pool in session.scalars(pools):
        name = pool.path.strip("/").rpartition("/")[2]
        if name in info.pools:
            total, free = info.pools[name]
            pool.capacity, pool.used = total, total - free
