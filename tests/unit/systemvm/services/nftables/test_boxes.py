"""Boxes: same union, no overlap, and an end to hostile input."""

import time
from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from systemvm.services.nftables.boxes import Box, TooManyBoxes, disjoint, merge

pytestmark = pytest.mark.unit

interval = st.tuples(st.integers(0, 7), st.integers(0, 7)).map(lambda pair: (min(pair), max(pair)))
boxes = st.lists(st.tuples(interval, interval, interval), max_size=8)


def points(box: Box) -> set[tuple[int, ...]]:
    return set(product(*(range(first, last + 1) for first, last in box)))


@settings(deadline=None)
@given(boxes)
def test_same_union_and_no_overlap(found: list[Box]) -> None:
    cut = disjoint(found, 10_000)
    parts = [points(box) for box in cut]
    assert set().union(*parts) == set().union(*map(points, found))
    assert sum(map(len, parts)) == len(set().union(*parts))
    assert cut == sorted(cut)


@settings(deadline=None)
@given(st.lists(interval))
def test_merge(found: list[tuple[int, int]]) -> None:
    merged = merge(found)
    assert set().union(*(points((each,)) for each in merged)) == set().union(
        *(points((each,)) for each in found)
    )
    assert all(left[1] + 1 < right[0] for left, right in pairwise(merged))


def test_what_does_not_overlap_stays() -> None:
    found: list[Box] = [((1, 2), (5, 5)), ((3, 3), (6, 6)), ((9, 9), (5, 6))]
    assert disjoint(found, 10) == found


def test_neighbours_join() -> None:
    assert disjoint([((1, 4), (0, 9)), ((5, 8), (0, 4)), ((5, 8), (5, 9))], 10) == [((1, 8), (0, 9))]


def test_limit() -> None:
    nested: list[Box] = [((0, i), (2 * i, 2 * i)) for i in range(100)]
    assert len(disjoint(nested, 10_000)) == 5050
    with pytest.raises(TooManyBoxes):
        disjoint(nested, 1000)


def test_hostile_nesting_ends_soon() -> None:
    nested: list[Box] = [((0, i), (2 * i, 2 * i), (0, 9)) for i in range(10_000)]
    common: list[Box] = [((i, 20_000), (i % 7, 30 + i % 11)) for i in range(10_000)]
    started = time.process_time()
    with pytest.raises(TooManyBoxes):
        disjoint(nested, 20_000)
    assert len(disjoint(common, 20_000)) < 200
    assert time.process_time() - started < 10
