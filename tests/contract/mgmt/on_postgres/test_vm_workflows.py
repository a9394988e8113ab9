"""The life of a VM on PostgreSQL, hosts being simulated."""

import pytest

from tests.unit.mgmt.ops.compute.test_vm_workflows import *  # noqa: F403

pytestmark = pytest.mark.contract
