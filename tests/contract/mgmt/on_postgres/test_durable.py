"""Durable jobs on PostgreSQL: their rows and their records."""

import pytest

from tests.unit.mgmt.jobs.test_durable import *  # noqa: F403

pytestmark = pytest.mark.contract
