"""Image build: from nothing, and again with nothing changed, beside mmdebstrap of the same packages.

The build runs as its user would start it, with a cache of its own that is empty at first, downloads and the
boot check included; so the machine's own cache is neither used nor touched. mmdebstrap downloads as well.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from images.builder import recipe, tree
from images.builder.debian import Archive
from images.builder.paths import Source
from systemvm.engine.command import run
from systemvm.engine.errors import CommandError
from tests.bench.measurement import Finding, Measurement, Missing, seconds_of

NAME = "systemvm"
TIMEOUT = 1800.0
#: Promised seconds; shown as notes, since the ratio is what counts on machines like this.
COLD, UNCHANGED = 300, 1


def measure() -> Iterator[Finding]:
    """Cold and unchanged build of the system VM's image."""
    with tempfile.TemporaryDirectory(prefix="pileus-bench-", dir="/var/tmp") as name:
        try:
            cold = seconds_of(lambda: _build(Path(name)))
            again = seconds_of(lambda: _build(Path(name)))
        except CommandError as error:
            yield Missing(name=f"build: {NAME}", why=str(error)[-300:])
            return
        plain = seconds_of(lambda: _bootstrap(Path(name)))
    for what, seconds, goal in (("cold", cold, COLD), ("unchanged", again, UNCHANGED)):
        yield Measurement(
            name=f"build: {NAME}, {what}",
            seconds=seconds,
            baseline="mmdebstrap of the same packages",
            baseline_seconds=plain,
            note=f"promised: {goal} s; with the start of Python",
        )


def _build(cache: Path) -> None:
    run(("env", f"PILEUS_CACHE={cache}", sys.executable, "-m", "images", "build", NAME), timeout=TIMEOUT)


def _bootstrap(folder: Path) -> None:
    made = recipe.load(NAME)
    sources = Archive(made.tree.release).sources
    included = ",".join(tree.packages(made, Source()))
    argv = ("mmdebstrap", "--mode=root", "--variant=minbase", f"--include={included}", "--format=tar")
    options = ("--aptopt=APT::Install-Recommends false",)
    run((*argv, *options, made.tree.release, os.devnull, str(sources)), timeout=TIMEOUT)
