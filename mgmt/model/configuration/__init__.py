"""The configuration: one typed registry of all items an operator may change while the cloud runs.

`mgmt.store.configured.configured(session, item, zone_id=…)` gives an item's value at a place;
listConfigurations, updateConfiguration and resetConfiguration are the API to it.
"""

from mgmt.model.configuration.item import CLUSTER, GLOBAL, POOL, ZONE, Item, Scope, WrongValue
from mgmt.model.configuration.items import (
    ALERT_PURGE_DAYS,
    ALLOCATION_ALGORITHM,
    CLUSTER_CPU_LIMIT,
    CLUSTER_CPU_NOTICE,
    CLUSTER_MEMORY_LIMIT,
    CLUSTER_MEMORY_NOTICE,
    CPU_OVERPROVISIONING,
    EVENT_PURGE_DAYS,
    EXPUNGE_DELAY,
    EXPUNGE_INTERVAL,
    HOST_RESERVED_MEMORY,
    ITEMS,
    JOB_EXPIRE_MINUTES,
    MEMORY_OVERPROVISIONING,
    POOL_ALLOCATED_LIMIT,
    POOL_USED_LIMIT,
    PUBLIC_ADDRESS_NOTICE,
    SESSION_MINUTES,
    STORAGE_ALLOCATED_NOTICE,
    STORAGE_OVERPROVISIONING,
    STORAGE_USED_NOTICE,
    find_item,
)

__all__ = [
    "ALERT_PURGE_DAYS",
    "ALLOCATION_ALGORITHM",
    "CLUSTER",
    "CLUSTER_CPU_LIMIT",
    "CLUSTER_CPU_NOTICE",
    "CLUSTER_MEMORY_LIMIT",
    "CLUSTER_MEMORY_NOTICE",
    "CPU_OVERPROVISIONING",
    "EVENT_PURGE_DAYS",
    "EXPUNGE_DELAY",
    "EXPUNGE_INTERVAL",
    "GLOBAL",
    "HOST_RESERVED_MEMORY",
    "ITEMS",
    "JOB_EXPIRE_MINUTES",
    "MEMORY_OVERPROVISIONING",
    "POOL",
    "POOL_ALLOCATED_LIMIT",
    "POOL_USED_LIMIT",
    "PUBLIC_ADDRESS_NOTICE",
    "SESSION_MINUTES",
    "STORAGE_ALLOCATED_NOTICE",
    "STORAGE_OVERPROVISIONING",
    "STORAGE_USED_NOTICE",
    "ZONE",
    "Item",
    "Scope",
    "WrongValue",
    "find_item",
]
