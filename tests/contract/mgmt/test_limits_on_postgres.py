"""Limits on PostgreSQL, where transactions run side by side: none is exceeded, none waits in a circle."""

import random
import threading
from collections.abc import Callable, Iterator

import pytest

from mgmt.alloc.limits import counts_of, release_all, reserve_all
from mgmt.model.errors import LimitReached
from mgmt.model.resources import ResourceType
from mgmt.store.database import Database
from mgmt.store.tables import Account, Base, Domain, ResourceLimit
from tests.postgres import postgres

pytestmark = pytest.mark.contract

VM = ResourceType.user_vm


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with postgres() as url:
        opened = Database(url)
        Base.metadata.create_all(opened.engine)
        yield opened
        opened.close()


def make_accounts(database: Database, name: str) -> tuple[Domain, list[Account]]:
    """A ROOT domain with two domains of two accounts each."""
    with database.writing() as session:
        root = Domain(name="ROOT", path=f"/{name}/")
        session.add(root)
        session.flush()
        accounts = []
        for at in range(4):
            domain = Domain(name=f"d{at}", path=f"/{name}/d{at}/", parent_id=root.id)
            session.add(domain)
            session.flush()
            accounts += [Account(name=f"{name}{at}{side}", domain_id=domain.id) for side in "xy"]
        session.add_all(accounts)
    return root, accounts


def at_once(count: int, work: Callable[[int], str]) -> list[str]:
    """What became of each of `count` threads that start together."""
    outcomes: list[str] = []
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        barrier.wait()
        try:
            outcomes.append(work(number))
        except LimitReached:
            outcomes.append("refused")
        except Exception as error:  # shown by the assertion
            outcomes.append(repr(error))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(outcomes)


def test_twenty_at_once_against_a_limit_of_five(database: Database) -> None:
    _root, accounts = make_accounts(database, "one")
    with database.writing() as session:
        session.add(ResourceLimit(owner_id=accounts[0].id, type=VM, most=5))

    def deploy(_number: int) -> str:
        amounts = {VM: 1, ResourceType.cpu: 1, ResourceType.primary_storage: 10}
        with database.writing() as session:
            reserve_all(session, session.get_one(Account, accounts[0].id), amounts)
        return "got"

    assert at_once(20, deploy) == ["got"] * 5 + ["refused"] * 15
    with database.reading() as session:
        assert counts_of(session, [accounts[0].id])[accounts[0].id][VM] == 5


def test_many_accounts_count_side_by_side(database: Database) -> None:
    """Rows that nobody has counted in yet are made at the same moment; all meet at the domain above."""
    root, accounts = make_accounts(database, "many")

    def live(number: int) -> str:
        chance = random.Random(number)  # noqa: S311 (a test that can be repeated)
        for _ in range(12):
            amounts = dict.fromkeys(chance.sample(list(ResourceType), 3), 1)
            account_id = chance.choice(accounts).id
            for change in (reserve_all, release_all):
                with database.writing() as session:
                    change(session, session.get_one(Account, account_id), amounts)
        return "done"

    assert at_once(8, live) == ["done"] * 8
    with database.reading() as session:
        assert set(counts_of(session, [root.id])[root.id].values()) == {0}
