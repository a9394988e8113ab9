"""Resource limits on PostgreSQL."""

import pytest

from tests.unit.mgmt.alloc.test_limits import *  # noqa: F403

pytestmark = pytest.mark.contract
