"""Projects on a simulated cloud: what they own is theirs, counted for them, and goes with them."""

from typing import Any

import pytest

from mgmt.agents.errors import AgentFailed
from mgmt.alloc.limits import counts_of
from mgmt.api.access import Caller
from mgmt.model.errors import CloudError, InUse, LimitReached
from mgmt.model.resources import ResourceType
from mgmt.store.defaults import ISOLATED_OFFERING
from mgmt.store.tables import (
    Account,
    DiskOffering,
    Network,
    NetworkOffering,
    Project,
    PublicAddress,
    ResourceLimit,
    Vm,
    Volume,
)
from tests.unit.mgmt.tenant import Tenant

pytestmark = pytest.mark.unit


@pytest.fixture
def project(tenant: Tenant) -> Project:
    """A project of bob's with a network and a running VM that has a data disk."""
    made = tenant.call("createProject", name="shop")
    asked = {"projectid": made["id"], "zoneid": tenant.cloud.zone_id}
    offering = tenant.id_of(NetworkOffering, ISOLATED_OFFERING)
    network = tenant.call("createNetwork", name="net", networkofferingid=offering, **asked)["network"]
    assert (network["project"], network["projectid"], "account" in network) == ("shop", made["id"], False)
    disk = {"diskofferingid": tenant.id_of(DiskOffering, "Small")}
    tenant.deploy(network["id"], projectid=made["id"], **disk)
    found: Project = tenant.cloud.row(Project, made["id"])
    return found


def owned(tenant: Tenant, project: Project) -> dict[str, int]:
    """What is counted for the project."""
    with tenant.cloud.runtime.database.reading() as session:
        counts = counts_of(session, [project.account_id])[project.account_id]
    return {kind.name: used for kind, used in counts.items() if used}


def rows_of(tenant: Tenant, project: Project) -> list[Any]:
    return [
        row
        for table in (Vm, Volume, Network, PublicAddress)
        for row in tenant.cloud.rows(table)
        if row.account_id == project.account_id
    ]


def test_what_a_project_owns_is_counted_for_it(tenant: Tenant, project: Project) -> None:
    (listed,) = tenant.call("listVirtualMachines", projectid=project.id)["virtualmachine"]
    assert (listed["project"], listed["projectid"], listed["state"]) == ("shop", project.id, "Running")
    assert "account" not in listed
    assert tenant.call("listVirtualMachines") == {}
    counts = owned(tenant, project)
    assert (counts["user_vm"], counts["network"], counts["public_ip"], counts["volume"]) == (1, 1, 1, 2)
    mine = tenant.counted()[0]
    assert {kind.name: used for kind, used in mine.items() if used} == {"project": 1}
    (shown,) = tenant.call("listProjects")["project"]
    assert (shown["vmtotal"], shown["vmrunning"], shown["vmavailable"]) == (1, 1, "19")
    with tenant.cloud.runtime.database.writing() as session:
        session.add(ResourceLimit(owner_id=project.account_id, type=ResourceType.user_vm, most=1))
    network = next(row for row in rows_of(tenant, project) if isinstance(row, Network))
    with pytest.raises(LimitReached, match=r"Project PrjAcct-shop-.* may have 1 of resource user_vm"):
        tenant.deploy(network.id, projectid=project.id)


def test_a_project_goes_with_all_it_owns(tenant: Tenant, project: Project) -> None:
    with pytest.raises(InUse, match=r"still owns 1 VM\(s\), 2 volume\(s\), 1 network\(s\), 1 public"):
        tenant.call("deleteProject", id=project.id)
    assert tenant.cloud.row(Project, project.id).state == "Active"
    tenant.call("deleteProject", id=project.id, cleanup=True)
    assert rows_of(tenant, project) == []
    assert owned(tenant, project) == {}
    host = tenant.cloud.simulator.hosts["172.31.240.1"]
    assert not [domain for domain in host.domains.values() if domain.name.startswith("i-")]
    assert tenant.cloud.row(Account, project.account_id).removed is not None
    assert set(tenant.counted()[0].values()) == set(tenant.counted()[1].values()) == {0}
    with pytest.raises(CloudError, match="entity does not exist"):
        tenant.call("listVirtualMachines", projectid=project.id)


def test_a_cleanup_that_fails_is_tried_again(tenant: Tenant, project: Project) -> None:
    tenant.cloud.simulator.faults.fail("delete_volume", AgentFailed("host1", "disk is stuck"))
    tenant.call("deleteProject", id=project.id, cleanup=True)
    left = tenant.cloud.row(Project, project.id)
    assert (left.removed, left.state) == (None, "Suspended")
    assert rows_of(tenant, project)
    tenant.call("deleteProject", id=project.id, cleanup=True)
    assert tenant.cloud.row(Project, project.id).removed is not None
    assert owned(tenant, project) == {}


def test_somebody_else_has_none_of_it(tenant: Tenant, project: Project) -> None:
    vm = next(row for row in rows_of(tenant, project) if isinstance(row, Vm))
    with tenant.cloud.runtime.database.writing() as session:
        other = Account(name="eve", domain_id=tenant.caller.domain.id)
        session.add(other)
    tenant.caller = Caller(user=tenant.add_user(other), account=other, domain=tenant.caller.domain)
    for command, parameters in (
        ("stopVirtualMachine", {"id": vm.id}),
        ("listVirtualMachines", {"projectid": project.id}),
        ("listVirtualMachines", {"id": vm.id}),
        ("createTags", {"resourceids": vm.id, "resourcetype": "UserVm", "tags[0].key": "k"}),
    ):
        with pytest.raises(CloudError, match="does not have permission"):
            tenant.call(command, **parameters)
