"""One API on a fresh database per test, copied from one that is made once."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from mgmt.api.testing import Api, Client, open_api
from mgmt.store import passwords
from tests.unit.mgmt.api.shop import Shop, open_shop
from tests.unit.mgmt.frozen_cloud import NewDatabase


@pytest.fixture(scope="session", autouse=True)
def cheap_hashes() -> Iterator[None]:
    """The same algorithm at its lowest cost: real hashes are slow on purpose, and many tests log in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        passwords._hash_of_nothing.cache_clear()
        yield
    passwords._hash_of_nothing.cache_clear()


@pytest.fixture(scope="session")
def fresh_store(tmp_path_factory: pytest.TempPathFactory, cheap_hashes: None) -> Path:
    folder = tmp_path_factory.mktemp("fresh")
    with open_api(folder):
        return folder


@pytest.fixture
def api(tmp_path: Path, fresh_store: Path, new_database: NewDatabase) -> Iterator[Api]:
    with open_api(tmp_path, like=fresh_store, url=new_database()) as opened:
        yield opened


@pytest.fixture
def admin(api: Api) -> Client:
    return api.client("admin")


@pytest.fixture
def shop(fresh_store: Path, tmp_path: Path, new_database: NewDatabase) -> Iterator[Shop]:
    with open_shop(tmp_path, fresh_store, new_database()) as opened:
        yield opened
