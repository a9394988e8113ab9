"""The items, by area. Defaults are CloudStack's unless a comment says why not.

An item stands here only if something reads it.
"""

from collections.abc import Mapping
from typing import Any, Final

from mgmt.model.configuration.item import CLUSTER, OWNER, POOL, ZONE, Item
from mgmt.model.configuration.limits import LIMIT_ITEMS
from mgmt.model.configuration.projects import PROJECT_ITEMS
from mgmt.model.configuration.snapshots import SNAPSHOT_MOST

_DAY = 24 * 3600
_YEAR_DAYS = 36500
#: The oldest host that fits; the one with the most free memory; any; the one with the fewest VMs of the
#: owner; one in the pod that has the most of them.
PLANNERS = (
    "firstfit",
    "firstfitleastconsumed",
    "random",
    "userdispersing",
    "userconcentratedpod_firstfit",
    "userconcentratedpod_random",
)

EXPUNGE_DELAY = Item(
    name="expunge.delay",
    default=_DAY,
    category="Advanced",
    group="Compute",
    description="seconds that a destroyed virtual machine can be recovered",
)
EXPUNGE_INTERVAL = Item(
    name="expunge.interval",
    default=60,
    category="Advanced",
    group="Compute",
    description="seconds between two looks for destroyed virtual machines to expunge",
    low=1,
)
VM_SNAPSHOT_MAX = Item(
    name="vmsnapshot.max",
    default=10,
    category="Advanced",
    group="Compute",
    description="how many VM snapshots a virtual machine may have",
)
ALLOCATION_ALGORITHM = Item(
    name="vm.allocation.algorithm",
    default="firstfit",
    category="Advanced",
    group="Compute",
    description="the order in which hosts are tried for a virtual machine",
    scopes=ZONE,
    options=PLANNERS,
)
# A core carries eight virtual CPUs: one or two hosts are a cloud here, and most guests idle.
CPU_OVERPROVISIONING = Item(
    name="cpu.overprovisioning.factor",
    default=8.0,
    category="Advanced",
    group="Capacity",
    description="how many virtual CPUs one core of a host may carry",
    scopes=CLUSTER,
    low=1,
    high=100,
)
MEMORY_OVERPROVISIONING = Item(
    name="mem.overprovisioning.factor",
    default=1.0,
    category="Advanced",
    group="Capacity",
    description="how often the memory of a host may be given away",
    scopes=CLUSTER,
    low=1,
    high=100,
)
HOST_RESERVED_MEMORY = Item(
    name="host.reserved.mem.mb",
    default=512,
    category="Advanced",
    group="Capacity",
    description="MiB of memory that a host keeps for itself",
    scopes=CLUSTER,
)
STORAGE_OVERPROVISIONING = Item(
    name="storage.overprovisioning.factor",
    default=2.0,
    category="Advanced",
    group="Capacity",
    description="how often the space of a storage pool may be promised; volumes are thin",
    scopes=POOL,
    low=1,
    high=100,
)


def _threshold(name: str, default: float, description: str, scopes: Any) -> Item[float]:
    return Item(
        name=name,
        default=default,
        category="Alert" if "notification" in name else "Advanced",
        group="Capacity",
        description=description,
        scopes=scopes,
        high=1,
    )


# CloudStack stops at 0.85 of what is allocated; a cloud of one small host would waste a sixth of it.
CLUSTER_CPU_LIMIT = _threshold(
    "cluster.cpu.allocated.capacity.disablethreshold",
    1.0,
    "the share of the virtual CPUs of a cluster's hosts that may be given away",
    CLUSTER,
)
CLUSTER_MEMORY_LIMIT = _threshold(
    "cluster.memory.allocated.capacity.disablethreshold",
    1.0,
    "the share of the memory of a cluster's hosts that may be given away",
    CLUSTER,
)
POOL_ALLOCATED_LIMIT = _threshold(
    "pool.storage.allocated.capacity.disablethreshold",
    1.0,
    "the share of space promised above which a storage pool takes no more volumes",
    POOL,
)
POOL_USED_LIMIT = _threshold(
    "pool.storage.capacity.disablethreshold",
    0.95,
    "the share of space in use above which a storage pool takes no more volumes",
    POOL,
)
CLUSTER_CPU_NOTICE = _threshold(
    "cluster.cpu.allocated.capacity.notificationthreshold",
    0.75,
    "the share of virtual CPUs given away above which there is an alert",
    CLUSTER,
)
CLUSTER_MEMORY_NOTICE = _threshold(
    "cluster.memory.allocated.capacity.notificationthreshold",
    0.75,
    "the share of memory given away above which there is an alert",
    CLUSTER,
)
STORAGE_USED_NOTICE = _threshold(
    "cluster.storage.capacity.notificationthreshold",
    0.75,
    "the share of a storage pool's space in use above which there is an alert",
    POOL,
)
STORAGE_ALLOCATED_NOTICE = _threshold(
    "cluster.storage.allocated.capacity.notificationthreshold",
    0.75,
    "the share of a storage pool's space promised above which there is an alert",
    POOL,
)
PUBLIC_ADDRESS_NOTICE = _threshold(
    "zone.virtualnetwork.publicip.capacity.notificationthreshold",
    0.75,
    "the share of public IP addresses in use above which there is an alert",
    ZONE,
)

EVENT_PURGE_DAYS = Item(
    name="event.purge.delay",
    default=15,
    category="Advanced",
    group="Management Server",
    description="days after which events are deleted; 0 for never",
    high=_YEAR_DAYS,
)
ALERT_PURGE_DAYS = Item(
    name="alert.purge.delay",
    default=0,
    category="Advanced",
    group="Management Server",
    description="days after which alerts that are over are deleted; 0 for never",
    high=_YEAR_DAYS,
)
JOB_EXPIRE_MINUTES = Item(
    name="job.expire.minutes",
    default=1440,
    category="Advanced",
    group="Management Server",
    description="minutes that the result of an asynchronous job is kept",
    low=1,
    high=_YEAR_DAYS * 1440,
)
SESSION_MINUTES = Item(
    name="session.timeout",
    default=30,
    category="Advanced",
    group="Management Server",
    description="minutes without a call after which a session ends",
    scopes=OWNER,
    low=1,
    high=_YEAR_DAYS * 1440,
)
USAGE_ENABLED = Item(
    name="enable.usage.server",
    default=True,
    category="Usage",
    group="Usage",
    description="true: usage records are made for each finished day",
)

PUBLIC_TEMPLATES_ALLOWED = Item(
    name="allow.public.user.templates",
    default=True,
    category="Advanced",
    group="Templates",
    description="whether ordinary users may make their templates and ISOs public",
    scopes=OWNER,
)
UPLOAD_MINUTES = Item(
    name="upload.operation.timeout",
    default=10,
    category="Advanced",
    group="Templates",
    description="minutes within which the upload of a template, an ISO or a volume must begin",
    low=1,
    high=_YEAR_DAYS * 1440,
)
EXTRACT_URL_SECONDS = Item(
    name="extract.url.expiration.interval",
    default=4 * 3600,
    category="Advanced",
    group="Templates",
    description="seconds that a URL to download a template, an ISO or a volume is good for",
    low=60,
    high=_YEAR_DAYS * _DAY,
)
_ALL: tuple[Item[Any], ...] = (
    VM_SNAPSHOT_MAX,
    EXPUNGE_DELAY,
    EXPUNGE_INTERVAL,
    ALLOCATION_ALGORITHM,
    CPU_OVERPROVISIONING,
    MEMORY_OVERPROVISIONING,
    HOST_RESERVED_MEMORY,
    STORAGE_OVERPROVISIONING,
    CLUSTER_CPU_LIMIT,
    CLUSTER_MEMORY_LIMIT,
    POOL_ALLOCATED_LIMIT,
    POOL_USED_LIMIT,
    CLUSTER_CPU_NOTICE,
    CLUSTER_MEMORY_NOTICE,
    STORAGE_USED_NOTICE,
    STORAGE_ALLOCATED_NOTICE,
    PUBLIC_ADDRESS_NOTICE,
    EVENT_PURGE_DAYS,
    ALERT_PURGE_DAYS,
    JOB_EXPIRE_MINUTES,
    SESSION_MINUTES,
    USAGE_ENABLED,
    PUBLIC_TEMPLATES_ALLOWED,
    EXTRACT_URL_SECONDS,
    UPLOAD_MINUTES,
    *LIMIT_ITEMS,
    *PROJECT_ITEMS,
    *SNAPSHOT_MOST.values(),
)

ITEMS: Final[Mapping[str, Item[Any]]] = {item.name: item for item in sorted(_ALL, key=lambda item: item.name)}
"""All items by name."""


def find_item(name: str) -> Item[Any]:
    """The item of a name. Raises `KeyError`."""
    return ITEMS[name]
