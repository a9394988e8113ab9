"""Benches of namespaces, removed after each test."""

from collections.abc import Iterator

import pytest

from tests.netns.router_bench import RouterBench
from tests.netns.topology import Topology


@pytest.fixture
def lab() -> Iterator[Topology]:
    with Topology() as made:
        yield made


@pytest.fixture
def bench(lab: Topology) -> RouterBench:
    return RouterBench(lab)
