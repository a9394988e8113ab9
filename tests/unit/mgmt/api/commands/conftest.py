"""One world, made once (migrations and password hashes take a second) and copied for every test."""

import shutil
from pathlib import Path

import pytest

from tests.unit.mgmt.api.commands.world import World, make_world, open_world


@pytest.fixture(scope="session")
def first_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def world(first_world: World, tmp_path: Path) -> World:
    shutil.copytree(first_world.folder, tmp_path / "home")
    return open_world(first_world, tmp_path / "home")
