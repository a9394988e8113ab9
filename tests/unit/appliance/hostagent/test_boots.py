"""Which VMs a reboot of their host ended."""

from pathlib import Path

import pytest

from appliance.hostagent.boots import Boots

pytestmark = pytest.mark.unit


def test_a_boot_is_over_after_the_next_one_began(tmp_path: Path) -> None:
    now = tmp_path / "boot_id"
    boots = Boots(tmp_path / "domains", now)
    now.write_text("one\n")
    boots.note("vm")
    assert not boots.is_over("vm")
    assert not boots.is_over("another"), "nobody knows"
    now.write_text("two\n")
    assert boots.is_over("vm")
    boots.note("vm")
    assert not boots.is_over("vm")
