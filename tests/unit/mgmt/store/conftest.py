"""A database per test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mgmt.store.database import Database
from mgmt.store.migrate import upgrade


@pytest.fixture
def database(tmp_path: Path, new_database: Callable[[], str]) -> Iterator[Database]:
    opened = Database(new_database() or f"sqlite:///{tmp_path / 'mgmt.db'}")
    upgrade(opened)
    yield opened
    opened.close()
