"""Resource limits: nobody gets more than the account's and the domains' limits, however many ask at once."""

import threading
from dataclasses import dataclass

import pytest
from sqlalchemy import select

from mgmt.alloc.limits import counts_of, default_limit, release, reserve, reserve_all
from mgmt.model.errors import LimitReached
from mgmt.model.resources import DEFAULT_LIMITS, GIB, OwnerKind, ResourceType, limit_item
from mgmt.model.states import AccountType
from mgmt.store.database import Database
from mgmt.store.tables import Account, ConfigurationValue, Domain, ResourceLimit
from tests.unit.mgmt.small_cloud import SmallCloud

pytestmark = pytest.mark.unit

VM = ResourceType.user_vm


@dataclass
class Tenant:
    """An account in the domain ROOT/a/b, and its domains from the nearest up."""

    database: Database
    account: Account
    domains: list[Domain]

    def used(self, kind: ResourceType) -> list[int]:
        """The counts of the account, of a/b, of a and of ROOT."""
        owners = [self.account.id, *(domain.id for domain in self.domains)]
        with self.database.reading() as session:
            counts = counts_of(session, owners)
        return [counts[owner][kind] for owner in owners]

    def limit(self, owner_id: str, kind: ResourceType, most: int) -> None:
        with self.database.writing() as session:
            session.merge(ResourceLimit(owner_id=owner_id, type=kind, most=most))

    def reserve(self, kind: ResourceType, amount: int = 1) -> None:
        with self.database.writing() as session:
            reserve(session, session.get_one(Account, self.account.id), kind, amount)

    def reserve_all(self, amounts: dict[ResourceType, int]) -> None:
        with self.database.writing() as session:
            reserve_all(session, session.get_one(Account, self.account.id), amounts)


@pytest.fixture
def tenant(bare_cloud: SmallCloud) -> Tenant:
    database = bare_cloud.runtime.database
    with database.writing() as session:
        root = session.scalars(select(Domain).where(Domain.path == "/")).one()
        upper = Domain(name="a", path="/a/", parent_id=root.id)
        session.add(upper)
        session.flush()
        lower = Domain(name="b", path="/a/b/", parent_id=upper.id)
        session.add(lower)
        session.flush()
        account = Account(name="bob", domain_id=lower.id)
        session.add(account)
    return Tenant(database, account, [lower, upper, root])


def test_counts_go_up_and_down_for_the_account_and_all_domains(tenant: Tenant) -> None:
    tenant.reserve(VM, 3)
    assert tenant.used(VM) == [3, 3, 3, 3]
    with tenant.database.writing() as session:
        account = session.get_one(Account, tenant.account.id)
        release(session, account, VM)
        release(session, account, ResourceType.volume)  # there is none: never below nothing
    tenant.reserve_all({ResourceType.cpu: 4, ResourceType.memory: 512})
    assert tenant.used(VM) == [2, 2, 2, 2]
    assert tenant.used(ResourceType.cpu) == [4] * 4
    assert tenant.used(ResourceType.volume) == [0] * 4


@pytest.mark.parametrize(
    ("owner", "words"), [(0, "Account bob may"), (1, "Domain ROOT/a/b may"), (2, "Domain ROOT/a may")]
)
def test_a_limit_of_any_owner_holds(tenant: Tenant, owner: int, words: str) -> None:
    owners = [tenant.account.id, *(domain.id for domain in tenant.domains)]
    tenant.limit(owners[owner], VM, 2)
    tenant.reserve(VM, 2)
    with pytest.raises(LimitReached, match=f"{words} have 2 of resource user_vm, has 2 and asks for 1 more"):
        tenant.reserve(VM)
    assert tenant.used(VM) == [2] * 4


def test_all_or_none_is_counted(tenant: Tenant) -> None:
    tenant.limit(tenant.account.id, ResourceType.memory, 100)
    with pytest.raises(LimitReached, match="100 MiB of resource memory, has 0 MiB and asks for 128 MiB"):
        tenant.reserve_all({VM: 1, ResourceType.memory: 128})
    assert tenant.used(VM) == [0] * 4


def test_storage_is_counted_in_bytes_and_limited_in_gib(tenant: Tenant) -> None:
    tenant.limit(tenant.account.id, ResourceType.primary_storage, 2)
    tenant.reserve(ResourceType.primary_storage, 2 * GIB - 512)
    with pytest.raises(LimitReached, match="2 GiB of resource primary_storage, has 2 GiB"):
        tenant.reserve(ResourceType.primary_storage, 513)
    tenant.reserve(ResourceType.primary_storage, 512)


def test_no_limit_for_root_administrators_and_none_for_minus_one(tenant: Tenant) -> None:
    tenant.limit(tenant.domains[0].id, VM, -1)
    tenant.limit(tenant.account.id, VM, 0)
    with pytest.raises(LimitReached):
        tenant.reserve(VM)
    with tenant.database.writing() as session:
        session.get_one(Account, tenant.account.id).type = AccountType.root_admin
    tenant.reserve(VM, 1000)
    assert tenant.used(VM) == [1000] * 4


def test_defaults_are_the_configuration_items(tenant: Tenant) -> None:
    with tenant.database.writing() as session:
        assert default_limit(session, VM, OwnerKind.account) == 20
        assert default_limit(session, ResourceType.project, OwnerKind.project) == -1
        name = limit_item(VM, OwnerKind.account)
        assert name == "max.account.user.vms"
        session.add(ConfigurationValue(scope="global", scope_id="", name=name, value="1"))
    tenant.reserve(VM)
    with pytest.raises(LimitReached, match="may have 1 of"):
        tenant.reserve(VM)
    assert DEFAULT_LIMITS[OwnerKind.domain][VM] == 40


def test_many_at_once_get_exactly_what_is_left(tenant: Tenant) -> None:
    tenant.limit(tenant.domains[1].id, VM, 5)
    outcomes: list[str] = []
    barrier = threading.Barrier(20)

    def take() -> None:
        barrier.wait()
        try:
            tenant.reserve(VM)
            outcomes.append("got")
        except LimitReached:
            outcomes.append("refused")

    threads = [threading.Thread(target=take) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["got"] * 5 + ["refused"] * 15
    assert tenant.used(VM) == [5] * 4
