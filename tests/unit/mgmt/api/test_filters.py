"""Which list has which filters: all that its rows allow, except where CloudStack has none."""

from typing import Any

import pytest

from mgmt.api.app import load_commands
from mgmt.api.commands.tags import ALSO, TAGGABLE
from mgmt.api.lists import Listing, OwnedListCommand
from mgmt.api.registry import REGISTRY, Registered
from mgmt.api.testing import Client
from mgmt.store.tables.base import Owned

pytestmark = pytest.mark.unit
load_commands()
LISTS = [
    item for item in REGISTRY.all() if issubclass(item.command, Listing) and item.name.startswith("list")
]
PAGING = {"page", "pagesize", "keyword"}
OWNERS = {"account", "domainid", "projectid", "listall", "isrecursive"}
BY_COLUMN = {"id": "id", "zone_id": "zoneid", "name": "name", "state": "state"}

#: What CloudStack's own command lacks too, or calls otherwise: listStoragePools has `status`, a virtual
#: router element is no more than its provider, members of a balancer are asked for by their rule.
NOT_IN_CLOUDSTACK: dict[str, set[str]] = {
    "listAlerts": {"zoneid"},
    "listAnnotations": OWNERS,
    "listDomainChildren": {"state"},
    "listDomains": {"state"},
    "listEgressFirewallRules": {"state"},
    "listFirewallRules": {"state"},
    "listIpForwardingRules": {"state"},
    "listIsos": {"state"},
    "listLoadBalancerRuleInstances": {"name", "state", "zoneid"},
    "listLoadBalancerRules": {"state"},
    "listNetworks": {"name"},
    "listPhysicalNetworks": {"state"},
    "listPortForwardingRules": {"state"},
    "listSnapshots": {"state"},
    "listStoragePools": {"state"},
    "listStoragePoolsMetrics": {"state"},
    "listSystemVms": OWNERS,
    "listTemplates": {"state"},
    "listUsageRecords": {"name", "zoneid"},
    "listVMSnapshot": {"zoneid"},
    "listVirtualRouterElements": {"name", "state"},
}
#: Owned rows whose lists have no tags in CloudStack, though they can have some here.
UNTAGGED = {"listNics", "listLoadBalancerRuleInstances", "listSystemVms", "listRouters"}


def wanted(registered: Registered) -> set[str]:
    """The filters that the rows of a list allow."""
    entity = registered.spec.entity
    if entity is None:
        return PAGING
    table = entity.table
    columns = {column.key for column in table.__table__.columns}  # type: ignore[attr-defined]
    names = PAGING | {name for column, name in BY_COLUMN.items() if column in columns}
    return names | (OWNERS if issubclass(table, Owned) else set())


@pytest.mark.parametrize("registered", LISTS, ids=lambda item: item.name)
def test_a_list_has_every_filter_of_its_rows(registered: Registered) -> None:
    there = {parameter.name for parameter in registered.parameters}
    assert wanted(registered) - there == NOT_IN_CLOUDSTACK.get(registered.name, set())


@pytest.mark.parametrize(
    "registered", [item for item in LISTS if issubclass(item.command, OwnedListCommand)], ids=lambda x: x.name
)
def test_what_can_be_tagged_is_found_by_its_tags(registered: Registered) -> None:
    command: Any = registered.command
    entity = registered.spec.entity
    assert entity is not None
    can_be = entity.table in {*TAGGABLE.values(), *ALSO.values()} and registered.name not in UNTAGGED
    assert (command.tag_type is not None) == can_be
    if can_be:
        assert entity.table in (TAGGABLE[command.tag_type], ALSO.get(command.tag_type))


def test_a_keyword_searches_lists_that_have_no_table(admin: Client) -> None:
    assert admin.get("listHypervisors", keyword="kv")["hypervisor"][0]["name"] == "KVM"
    assert admin.get("listUsageTypes", keyword="network usage")["count"] == 2
    assert admin.get("listHypervisors", keyword="no such thing") == {}
