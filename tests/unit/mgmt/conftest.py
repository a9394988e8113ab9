"""Fixtures of the management server's unit tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mgmt.ops import names
from tests.unit.mgmt.small_cloud import SmallCloud, make_cloud


@pytest.fixture
def bare_cloud(tmp_path: Path) -> Iterator[SmallCloud]:
    """A cloud without system VMs."""
    cloud = make_cloud(tmp_path)
    yield cloud
    cloud.runtime.database.close()


@pytest.fixture
def cloud(bare_cloud: SmallCloud) -> SmallCloud:
    """A cloud with its console proxy and storage VM."""
    bare_cloud.run(names.ENSURE_SYSTEM_VMS, zone_id=bare_cloud.zone_id)
    return bare_cloud
