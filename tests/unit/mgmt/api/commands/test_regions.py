"""Regions."""

import pytest

from mgmt.api.testing import Client

pytestmark = pytest.mark.unit
EU = "https://eu.example.org/client/"


def test_a_cloud_is_in_a_region_from_the_start(admin: Client) -> None:
    (region,) = admin.get("listRegions")["region"]
    assert (region["id"], region["name"]) == (1, "Local")


def test_regions_come_change_and_go(admin: Client) -> None:
    made = admin.get("addRegion", id=7, name="eu", endpoint=EU)["region"]
    assert made["id"] == 7
    assert admin.get("listRegions", name="eu")["region"] == [made]
    assert admin.get("listRegions", id=7)["count"] == 1
    assert admin.get("updateRegion", id=7, name="europe")["region"]["name"] == "europe"
    assert admin.get("listRegions", keyword="EUR")["region"][0]["endpoint"] == EU
    assert admin.get("listRegions", page=2, pagesize=1)["region"][0]["id"] == 7
    admin.get("removeRegion", id=1)
    last = admin("removeRegion", id=7)
    assert (last.status, "the only one" in last.error) == (536, True)


@pytest.mark.parametrize(
    ("command", "sent", "words"),
    [
        ("addRegion", {"id": 1, "name": "x", "endpoint": EU}, "number 1 already"),
        ("addRegion", {"id": 2, "name": "Local", "endpoint": EU}, "a region Local already"),
        ("addRegion", {"id": 0, "name": "x", "endpoint": EU}, "for parameter id"),
        ("addRegion", {"id": 2, "name": "x", "endpoint": "file:///etc"}, "for parameter endpoint"),
        ("addRegion", {"id": 2, "name": "x", "endpoint": "http://[::1"}, "for parameter endpoint"),
        ("updateRegion", {"id": 9, "name": "x"}, "Invalid parameter id value=9 due to"),
        ("removeRegion", {"id": 9}, "entity does not exist"),
    ],
)
def test_wrong_regions(admin: Client, command: str, sent: dict[str, object], words: str) -> None:
    answer = admin(command, **sent)
    assert (answer.status, words in answer.error) == (431, True), answer.error
