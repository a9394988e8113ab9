"""Power-on to the answer: what we add to the time that QEMU and the kernel take anyway.

System VM: kernel, initrd and disk as libvirt starts it, until its agent says healthy over mutual TLS. Its
baseline: the same kernel with a static init that prints one word and powers off. Tiny guest: from its disk,
BIOS and GRUB included, until its web server answers; baseline the same bare boot. The rounds of both
alternate, as machines change their mood.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from images import catalog
from images.builder import recipe
from images.builder.boot import Machine, running
from images.builder.check import AgentProber
from images.builder.debian import Archive
from images.builder.errors import ImageError
from images.builder.initrd import write_bare_initrd
from images.catalog import CatalogImage
from tests.bench.measurement import Finding, Measurement, Missing

ROUNDS = 3
MARKER = "bare-boot-is-up"
TIMEOUT = 180.0
#: The promise: power-on to the agent's answer, in bare boots of the same kernel.
SYSTEMVM_GOAL = 5.0


def measure() -> Iterator[Finding]:
    """System VM to its agent, tiny to its web page."""
    with tempfile.TemporaryDirectory(prefix="pileus-bench-") as name:
        folder = Path(name)
        for image, ready, goal in (
            ("systemvm", _to_agent, SYSTEMVM_GOAL),
            ("tiny", _to_page, None),
        ):
            try:
                found = catalog.current(image)
            except ImageError as error:
                yield Missing(name=f"boot: {image}", why=str(error))
                continue
            bare = bare_machine(found, folder)
            pairs = [(ready(found, folder), to_marker(bare)) for _ in range(ROUNDS)]
            yield Measurement(
                name=f"boot: {image}, power-on to answer",
                seconds=median(ours for ours, _ in pairs),
                baseline="same kernel, static init",
                baseline_seconds=median(theirs for _, theirs in pairs),
                goal=goal,
                note=f"median of {ROUNDS}, emulated",
            )


def bare_machine(image: CatalogImage, folder: Path) -> Machine:
    """The image's kernel and an initrd that only says that it is there."""
    made = recipe.load(image.name)
    initrd = folder / f"bare-{image.name}"
    write_bare_initrd(Archive(made.tree.release), made.epoch, MARKER, initrd)
    cmdline = "console=ttyS0 quiet loglevel=4"
    return Machine(kernel=image.kernel, initrd=initrd, cmdline=cmdline, memory_mib=256)


def to_marker(machine: Machine) -> float:
    """Seconds to the bare init's word."""
    with running(machine) as booted:
        return booted.wait_serial(MARKER, TIMEOUT)


def to_page(image: CatalogImage) -> float:
    """Seconds from power-on of a tiny guest's disk to its web page."""
    machine = Machine(disk=image.qcow2, disk_format="qcow2", way="bios", memory_mib=96, cpus=1, agent_port=80)
    with running(machine) as booted:
        return booted.wait_http("/", "tiny\n", TIMEOUT)


def _to_page(image: CatalogImage, folder: Path) -> float:
    return to_page(image)


def _to_agent(image: CatalogImage, folder: Path) -> float:
    prober = AgentProber(folder)
    machine = Machine(disk=image.raw, kernel=image.kernel, initrd=image.initrd, cmdline=image.cmdline)
    with running(prober.equip(machine)) as booted:
        return prober.wait_healthy(booted, TIMEOUT)
