"""Lists on PostgreSQL: what they find, in which order, by how many statements."""

import pytest

from tests.unit.mgmt.api.matrix.test_statements import *  # noqa: F403
from tests.unit.mgmt.api.test_lists import *  # noqa: F403

pytestmark = pytest.mark.contract
