"""Findings as a table for people and as JSON for machines."""

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from tests.bench.measurement import Finding, Measurement, Missing

_LOG_WIDTH = 150


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What `bench.json` holds."""

    measured: float
    processors: int
    kernel: str
    measurements: tuple[dict[str, object], ...]
    missing: tuple[Missing, ...]


def write(findings: Sequence[Finding], path: Path) -> None:
    """Write bench.json."""
    rows = tuple(
        {**msgspec.structs.asdict(found), "ratio": found.ratio, "missed": found.missed}
        for found in findings
        if isinstance(found, Measurement)
    )
    report = Report(
        measured=time.time(),
        processors=os.cpu_count() or 0,
        kernel=platform.release(),
        measurements=rows,
        missing=tuple(found for found in findings if isinstance(found, Missing)),
    )
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")


def show(findings: Sequence[Finding], console: Console) -> None:
    """Print the table; what missed its goal is red, what could not be measured says why."""
    # Where nobody looks, in a log, lines may be long.
    if not console.is_terminal:
        console = Console(width=_LOG_WIDTH)
    table = Table("what", "seconds", "baseline", "seconds", "ratio", "goal", "note", box=None)
    for found in findings:
        if isinstance(found, Missing):
            table.add_row(found.name, "[yellow]not measured", "", "", "", "", found.why)
            continue
        colour = "red" if found.missed else "green" if found.goal is not None else "default"
        table.add_row(
            found.name,
            f"{found.seconds:.3f}",
            found.baseline,
            f"{found.baseline_seconds:.3f}",
            f"[{colour}]{found.ratio:.2f}",
            "" if found.goal is None else f"≤ {found.goal:g}",
            found.note,
        )
    console.print(table)
