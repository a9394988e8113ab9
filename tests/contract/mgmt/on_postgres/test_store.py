"""The store's tests on PostgreSQL."""

import pytest

from tests.unit.mgmt.store.test_store import *  # noqa: F403

pytestmark = pytest.mark.contract
