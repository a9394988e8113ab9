"""The fixtures of mgmt's unit tests, on a PostgreSQL server: whatever SQL they cause runs there too.

One server for each process of a run; each test gets copies of databases that are made once.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from mgmt.api.testing import open_api
from mgmt.store.database import Database
from mgmt.store.migrate import upgrade
from tests.postgres import Clones, postgres
from tests.unit.mgmt.api.commands.world import World, make_world, open_world
from tests.unit.mgmt.api.conftest import admin, api, cheap_hashes, shop
from tests.unit.mgmt.conftest import bare_cloud, cloud, first_bare_cloud, first_cloud, tenant
from tests.unit.mgmt.frozen_cloud import NewDatabase
from tests.unit.mgmt.store.conftest import database

__all__ = [
    "admin",
    "api",
    "bare_cloud",
    "cheap_hashes",
    "cloud",
    "database",
    "first_bare_cloud",
    "first_cloud",
    "shop",
    "tenant",
]


@pytest.fixture(scope="session")
def clones() -> Iterator[Clones]:
    with postgres() as url:
        yield Clones(url)


@pytest.fixture(scope="session")
def migrated(clones: Clones) -> str:
    """The name of a database as the migrations leave it."""
    url = clones.new()
    opened = Database(url)
    upgrade(opened)
    opened.close()
    return database_of(url)


@pytest.fixture(scope="session")
def new_database(clones: Clones, migrated: str) -> NewDatabase:
    return lambda like="": clones.new(database_of(like) if like else migrated)


@pytest.fixture(autouse=True)
def dropped(clones: Clones) -> Iterator[None]:
    """What a test made is dropped after it, so that hundreds of them do not fill the disk."""
    before = len(clones.made)
    yield
    clones.drop_after(before)


@pytest.fixture(scope="session")
def fresh_store(tmp_path_factory: pytest.TempPathFactory, cheap_hashes: None) -> Path:
    """Key and password of an API whose database is empty: the defaults are added by each test."""
    folder = tmp_path_factory.mktemp("fresh")
    with open_api(folder):
        return folder


@pytest.fixture(scope="session")
def first_world(tmp_path_factory: pytest.TempPathFactory, clones: Clones, new_database: NewDatabase) -> World:
    return make_world(tmp_path_factory.mktemp("world"), new_database())


@pytest.fixture
def world(first_world: World, clones: Clones, tmp_path: Path) -> Iterator[World]:
    shutil.copytree(first_world.folder, tmp_path / "home")
    copy = clones.new(database_of(first_world.context.config.database_url))
    opened = open_world(first_world, tmp_path / "home", copy)
    yield opened
    opened.context.database.close()


def database_of(url: str) -> str:
    return str(make_url(url).database)
