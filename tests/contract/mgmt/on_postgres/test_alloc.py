"""Addresses, counts, hosts and thresholds on PostgreSQL."""

import pytest

from tests.unit.mgmt.alloc.test_alloc import *  # noqa: F403
from tests.unit.mgmt.alloc.test_counts import *  # noqa: F403
from tests.unit.mgmt.alloc.test_hosts import *  # noqa: F403
from tests.unit.mgmt.alloc.test_thresholds import *  # noqa: F403

pytestmark = pytest.mark.contract
