"""A database per test, copied from one that is migrated once."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mgmt.store.database import Database
from mgmt.store.migrate import upgrade
from tests.unit.mgmt.frozen_cloud import NewDatabase


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file as the migrations leave it."""
    path = tmp_path_factory.mktemp("migrated") / "mgmt.db"
    opened = Database(f"sqlite:///{path}")
    upgrade(opened)
    opened.close()
    return path


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path, new_database: NewDatabase) -> Iterator[Database]:
    url = new_database()
    if not url:
        shutil.copy(request.getfixturevalue("migrated_file"), tmp_path / "mgmt.db")
        url = f"sqlite:///{tmp_path / 'mgmt.db'}"
    opened = Database(url)
    yield opened
    opened.close()
