"""Fixtures of the management server's unit tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mgmt.ops import names
from tests.unit.mgmt.frozen_cloud import FrozenCloud, NewDatabase, freeze
from tests.unit.mgmt.small_cloud import SmallCloud, make_cloud
from tests.unit.mgmt.tenant import Tenant, make_tenant


@pytest.fixture(scope="session")
def new_database() -> NewDatabase:
    """SQLite. `tests/contract/mgmt/on_postgres` runs tests again with another one."""
    return lambda like="": ""


@pytest.fixture(scope="session")
def first_bare_cloud(tmp_path_factory: pytest.TempPathFactory, new_database: NewDatabase) -> FrozenCloud:
    folder = tmp_path_factory.mktemp("bare-cloud")
    return freeze(make_cloud(folder, url=new_database()), folder)


@pytest.fixture(scope="session")
def first_cloud(
    first_bare_cloud: FrozenCloud, tmp_path_factory: pytest.TempPathFactory, new_database: NewDatabase
) -> FrozenCloud:
    folder = tmp_path_factory.mktemp("cloud")
    cloud = first_bare_cloud.thaw(folder, new_database(first_bare_cloud.url))
    cloud.run(names.ENSURE_SYSTEM_VMS, zone_id=cloud.zone_id)
    return freeze(cloud, folder)


@pytest.fixture
def bare_cloud(
    first_bare_cloud: FrozenCloud, tmp_path: Path, new_database: NewDatabase
) -> Iterator[SmallCloud]:
    """A cloud without system VMs."""
    cloud = first_bare_cloud.thaw(tmp_path, new_database(first_bare_cloud.url))
    yield cloud
    cloud.runtime.database.close()


@pytest.fixture
def cloud(first_cloud: FrozenCloud, tmp_path: Path, new_database: NewDatabase) -> Iterator[SmallCloud]:
    """A cloud with its console proxy and storage VM."""
    cloud = first_cloud.thaw(tmp_path, new_database(first_cloud.url))
    yield cloud
    cloud.runtime.database.close()


@pytest.fixture
def tenant(cloud: SmallCloud, tmp_path: Path) -> Tenant:
    """An account in a domain of its own, in that cloud."""
    return make_tenant(cloud, tmp_path)
