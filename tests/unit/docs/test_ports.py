"""docs/ports.md is what the code says."""

from pathlib import Path

import pytest

from appliance.ports import render

pytestmark = pytest.mark.unit


def test_table_is_current() -> None:
    shown = (Path(__file__).parents[3] / "docs/ports.md").read_text()
    assert shown == render(), "run: python -m appliance.ports > docs/ports.md"
