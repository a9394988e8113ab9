"""A system VM whose kernel gives up starts anew by itself: nobody sits at its console."""

import pytest

from images.builder import build
from images.builder.boot import Machine, running
from images.builder.progress import Quiet
from tests.netns.topology import eventually

pytestmark = pytest.mark.image

PANIC = "Kernel panic"


def test_a_panic_starts_the_machine_anew() -> None:
    image = build("systemvm", Quiet())
    # An init that ends is a panic, each time.
    cmdline = (image.folder / "cmdline").read_text().strip() + " init=/bin/false"
    machine = Machine(disk=image.raw, kernel=image.kernel, initrd=image.initrd, cmdline=cmdline)
    with running(machine) as booted:
        booted.wait_serial(PANIC, 200)
        eventually(lambda: booted.console().count(PANIC) > 1, "it started again, as far as before", 200)
