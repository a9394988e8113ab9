"""An engine with tiny services over recorded doors."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from systemvm.engine.apply import Engine
from systemvm.engine.service import Doors
from systemvm.engine.testing import RecordedDaemons, RecordedRunner, recorded_doors
from tests.unit.systemvm.engine.tiny import Tiny, TinyServices


@pytest.fixture
def services() -> TinyServices:
    return TinyServices(
        Tiny("haproxy", after=("nftables", "interfaces")),
        Tiny("nftables", after=("interfaces",)),
        Tiny("interfaces"),
        Tiny("dnsmasq", after=("interfaces",)),
    )


@pytest.fixture
def doors(tmp_path: Path) -> Doors:
    return recorded_doors(tmp_path, now=lambda: 1700000000.0)


@pytest.fixture
def daemons(doors: Doors) -> RecordedDaemons:
    assert isinstance(doors.daemons, RecordedDaemons)
    return doors.daemons


@pytest.fixture
def runner(doors: Doors) -> RecordedRunner:
    assert isinstance(doors.run, RecordedRunner)
    return doors.run


@pytest.fixture
def new_engine(services: TinyServices, doors: Doors) -> Iterator[Callable[..., Engine]]:
    made: list[Engine] = []

    def make(**options: Any) -> Engine:
        made.append(Engine(services, doors, **options))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


@pytest.fixture
def engine(new_engine: Callable[..., Engine]) -> Engine:
    engine = new_engine()
    engine.recover()
    return engine
