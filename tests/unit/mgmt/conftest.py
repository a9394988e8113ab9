"""Fixtures of the management server's unit tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mgmt.ops import names
from tests.unit.mgmt.small_cloud import SmallCloud, make_cloud
from tests.unit.mgmt.tenant import Tenant, make_tenant


@pytest.fixture(scope="session")
def new_database() -> Callable[[], str]:
    """Gives the URL of a database with tables; empty: an SQLite file in the test's own folder.

    `tests/contract/mgmt/on_postgres` runs tests again with another one.
    """
    return lambda: ""


@pytest.fixture
def bare_cloud(tmp_path: Path, new_database: Callable[[], str]) -> Iterator[SmallCloud]:
    """A cloud without system VMs."""
    cloud = make_cloud(tmp_path, url=new_database())
    yield cloud
    cloud.runtime.database.close()


@pytest.fixture
def cloud(bare_cloud: SmallCloud) -> SmallCloud:
    """A cloud with its console proxy and storage VM."""
    bare_cloud.run(names.ENSURE_SYSTEM_VMS, zone_id=bare_cloud.zone_id)
    return bare_cloud


@pytest.fixture
def tenant(cloud: SmallCloud, tmp_path: Path) -> Tenant:
    """An account in a domain of its own, in that cloud."""
    return make_tenant(cloud, tmp_path)
