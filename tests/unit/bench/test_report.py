"""What the bench prints and writes: ratios, missed promises, and what could not be measured."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from tests.bench import report
from tests.bench.measurement import Measurement, Missing, middles_of

pytestmark = pytest.mark.unit

KEPT = Measurement(name="boot", seconds=8.0, baseline="bare", baseline_seconds=2.0, goal=5.0)
MISSED = Measurement(name="apply", seconds=11.0, baseline="bare", baseline_seconds=2.0, goal=5.0)
PLAIN = Measurement(name="list", seconds=1.0, baseline="bare", baseline_seconds=2.0)
ABSENT = Missing(name="deploy", why="no cloud runs here")


def test_a_goal_is_missed_above_its_ratio_only() -> None:
    assert [found.missed for found in (KEPT, MISSED, PLAIN)] == [False, True, False]
    assert KEPT.ratio == 4.0


def test_json_holds_every_finding(tmp_path: Path) -> None:
    report.write([KEPT, MISSED, ABSENT], tmp_path / "bench.json")
    written = json.loads((tmp_path / "bench.json").read_text())
    assert [(row["name"], row["ratio"], row["missed"]) for row in written["measurements"]] == [
        ("boot", 4.0, False),
        ("apply", 5.5, True),
    ]
    assert written["missing"] == [{"name": "deploy", "why": "no cloud runs here"}]
    assert written["processors"] >= 1


def test_table_says_what_was_not_measured(capsys: pytest.CaptureFixture[str]) -> None:
    report.show([KEPT, ABSENT], Console())
    shown = capsys.readouterr().out
    assert "4.00" in shown
    assert "not measured" in shown
    assert "no cloud runs here" in shown


def test_rounds_alternate() -> None:
    order: list[str] = []
    ours, theirs = middles_of(lambda: order.append("a"), lambda: order.append("b"), 3)
    assert order == ["a", "b"] * 3
    assert ours >= 0
    assert theirs >= 0
