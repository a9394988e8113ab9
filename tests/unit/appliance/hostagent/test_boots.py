"""Which VMs a reboot of their host ended, or the end of the cloud on it."""

from pathlib import Path

import pytest

from appliance.hostagent.boots import Boots

pytestmark = pytest.mark.unit


def test_a_boot_is_over_after_the_next_one_began(tmp_path: Path) -> None:
    now = tmp_path / "boot_id"
    boots = Boots(tmp_path / "domains", now)
    now.write_text("one\n")
    boots.note("vm")
    assert boots.end_of("vm") == ""
    assert boots.end_of("another") == "", "nobody knows"
    now.write_text("two\n")
    assert boots.end_of("vm") == "its host rebooted"
    boots.note("vm")
    assert boots.end_of("vm") == ""


def test_taken_down_with_the_cloud_is_no_powering_off(tmp_path: Path) -> None:
    now = tmp_path / "boot_id"
    boots = Boots(tmp_path / "domains", now)
    now.write_text("one\n")
    boots.note("vm")
    boots.take_down("vm")
    assert boots.end_of("vm") == "the cloud on its host was taken down"
    now.write_text("two\n")
    assert boots.end_of("vm") == "the cloud on its host was taken down", "and the host rebooted after that"
    boots.note("vm")
    assert boots.end_of("vm") == ""
