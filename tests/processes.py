"""Signals to programs together with all that they started."""

from contextlib import suppress

import psutil


def signal_tree(pid: int, number: int) -> None:
    """Send it to a process and what it started, parents first: they would start others for those that end.

    Nothing happens to those that have ended by then.
    """
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
