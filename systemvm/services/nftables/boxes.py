"""Overlapping rules as disjoint boxes, because a kernel set of intervals refuses elements that overlap.

A rule is a box: an interval per field (ports, source addresses, …), ends included. nftables keeps sets
of concatenated intervals (`pipapo`), which look up in constant time but take no element whose corner
lies in another. Rules of tenants overlap freely, so their union is cut into boxes that do not.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import TypeAlias

Interval: TypeAlias = tuple[int, int]
Box: TypeAlias = tuple[Interval, ...]


#: Boxes looked at for each one allowed in the result.
_WORK_PER_BOX = 20


class TooManyBoxes(Exception):
    """The union needs more boxes than were allowed."""


def disjoint(boxes: Iterable[Box], limit: int) -> list[Box]:
    """Disjoint boxes with the same union, sorted. Raises TooManyBoxes beyond `limit` of them.

    Boxes without overlap cost n log n. Overlaps multiply: a hostile set of nested ones is cut off by
    `limit` before it costs memory or minutes.
    """
    unique = _joined(boxes)
    if len(unique) <= 1 or len(unique[0]) == 1:
        return unique
    result: list[Box] = []
    start, last, work = 0, list[Box](), 0
    for interval, active in _slices(unique):
        work += len(active)
        if work > limit * _WORK_PER_BOX:
            raise TooManyBoxes
        rest = disjoint([box[1:] for box in active], limit - len(result))
        if last == rest and result and result[-1][0][1] + 1 == interval[0]:
            # The same as its neighbour: one wider slice instead of two.
            interval = (result[start][0][0], interval[1])
            del result[start:]
        start, last = len(result), rest
        result += [(interval, *box) for box in rest]
        if len(result) > limit:
            raise TooManyBoxes
    return result


def _joined(boxes: Iterable[Box]) -> list[Box]:
    """Boxes that differ in nothing but their first field joined where they touch; the common case is done."""
    groups: dict[Box, list[Interval]] = {}
    for box in boxes:
        groups.setdefault(box[1:], []).append(box[0])
    return sorted((interval, *rest) for rest, found in groups.items() for interval in merge(found))


def _slices(boxes: list[Box]) -> Iterable[tuple[Interval, list[Box]]]:
    """The first field cut at every edge, each slice with the boxes that cover it; empty ones left out."""
    opening: dict[int, list[Box]] = {}
    closing: dict[int, list[Box]] = {}
    for box in boxes:
        opening.setdefault(box[0][0], []).append(box)
        closing.setdefault(box[0][1] + 1, []).append(box)
    edges = sorted(opening.keys() | closing.keys())
    active: dict[Box, None] = {}
    for edge, following in pairwise(edges):
        for box in closing.get(edge, ()):
            del active[box]
        active.update(dict.fromkeys(opening.get(edge, ())))
        if active:
            yield (edge, following - 1), list(active)


def merge(intervals: Iterable[Interval]) -> list[Interval]:
    """The same integers in as few intervals as possible, sorted."""
    merged: list[Interval] = []
    for first, last in sorted(intervals):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged
