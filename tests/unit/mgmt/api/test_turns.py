"""Calls that only read take turns, each in one transaction; no other call waits for them."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mgmt.api.app import load_commands
from mgmt.api.registry import REGISTRY
from mgmt.api.testing import Api, open_api
from mgmt.api.turns import AT_ONCE, ReadingTurns

pytestmark = pytest.mark.unit
CALLERS = 8


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, fresh_store: Path) -> Iterator[Api]:
    with open_api(tmp_path_factory.mktemp("turns"), like=fresh_store) as opened:
        yield opened


def test_few_read_at_a_time_and_all_of_them_get_their_turn(api: Api) -> None:
    load_commands()
    turns, inside, most = ReadingTurns(api.context.database), [], []
    met = threading.Barrier(AT_ONCE)

    def read(number: int) -> None:
        with turns.taken(REGISTRY.find("listZones")) as reading:
            inside.append(number)
            met.wait(30)  # so many are in at once
            most.append(len(inside))
            assert reading is not None
            inside.remove(number)

    with ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(read, range(CALLERS)))
    assert len(most) == CALLERS
    assert max(most) == AT_ONCE


@pytest.mark.parametrize("name", ["createZone", "deployVirtualMachine", "addHost", "login"])
def test_what_changes_something_waits_for_nobody(api: Api, name: str) -> None:
    turns = ReadingTurns(api.context.database, at_once=1)
    with turns.taken(REGISTRY.find("listZones")), turns.taken(REGISTRY.find(name)) as reading:
        assert reading is None


def test_a_list_is_one_transaction_with_its_caller(api: Api) -> None:
    client = api.client("admin")
    client.get("listZones")
    with api.counted() as counted:
        client.get("listZones")
    assert [text for text in counted if text.startswith("BEGIN")] == ["BEGIN"]
    assert "user.api_key = ?" in counted[1], "the caller is read in it"
