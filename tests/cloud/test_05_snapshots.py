"""A snapshot of a running guest: what it had then comes back in another guest, what came later does not."""

import pytest

from tests.cloud.beside import Beside

pytestmark = pytest.mark.cloud


@pytest.mark.usefixtures("stories")
def test_a_snapshot_brings_back_what_was_there_then(beside: Beside) -> None:
    beside.result("snapshot")
