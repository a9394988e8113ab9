"""`python -m tests.bench`: measures, each number beside a baseline of the same run; a table and bench.json.

Needs root and QEMU. Exit code 1 when a promised ratio was missed.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import click
from rich.console import Console

from tests.bench import api_latency, boot, deploy, image_build, report, router_apply, size
from tests.bench.measurement import Finding, Measurement

BENCHES: dict[str, Callable[[], Iterator[Finding]]] = {
    "router": router_apply.measure,
    "api": api_latency.measure,
    "sqlite": size.on_sqlite,
    "postgres": size.on_postgres,
    "boot": boot.measure,
    "build": image_build.measure,
    "deploy": deploy.measure,
}


@click.command()
@click.option(
    "--only", type=click.Choice(list(BENCHES)), multiple=True, help="Measure only this; repeatable."
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("bench.json"), show_default=True)
def main(only: tuple[str, ...], out: Path) -> None:
    """Measure what Pileus promises."""
    console = Console()
    findings: list[Finding] = []
    for name in only or BENCHES:
        with console.status(f"measuring {name} …"):
            findings.extend(BENCHES[name]())
    report.show(findings, console)
    report.write(findings, out)
    missed = [found.name for found in findings if isinstance(found, Measurement) and found.missed]
    if missed:
        raise click.ClickException(f"above the promised ratio: {', '.join(missed)}")


if __name__ == "__main__":
    main()
