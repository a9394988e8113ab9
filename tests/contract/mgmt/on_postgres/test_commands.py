"""Commands about VMs on PostgreSQL, and their lists."""

import pytest

from tests.unit.mgmt.api.commands.test_virtual_machines import *  # noqa: F403

pytestmark = pytest.mark.contract
