"""The rings of tests: their order, and how several processes of pytest-xdist (`-n`) share them.

Most tests wait for daemons more than they compute, so several processes run them in a fraction of the time.
Emulated machines compute all the time: their rings come last, in one process, which first waits until all
others have ended.
"""

import fcntl
from collections.abc import Sequence
from tempfile import NamedTemporaryFile
from typing import IO, Any

import pytest
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

#: Quick rings first, so that a broken import is not found after half an hour of VMs.
QUICK = ("unit", "contract", "netns")
#: Rings that want the processors for themselves.
ALONE = ("image", "browser", "cloud")
RINGS = (*QUICK, *ALONE)
#: Files whose tests are long and share nothing: each goes to whichever process is free.
SWEEPS = ("tests/unit/mgmt/doctor/test_crash_points.py", "tests/unit/mgmt/doctor/test_failures.py")

_LOCK = "pileus_lock"


def ring_of(item: pytest.Item) -> str:
    """The ring of a test. Raises UsageError when it has none, or lies in another ring's folder."""
    for ring in reversed(RINGS):
        if item.get_closest_marker(ring):
            if _folder(item.nodeid) != ring:
                raise pytest.UsageError(f"{item.nodeid} is marked {ring!r}: it belongs below tests/{ring}")
            return ring
    raise pytest.UsageError(f"{item.nodeid} has no ring: mark its module with one of {', '.join(RINGS)}")


def in_order(items: Sequence[pytest.Item], *, is_spread: bool) -> list[pytest.Item]:
    """Tests by ring. Spread over processes, netns goes first: short files in the end leave nobody idle."""
    order = (*reversed(QUICK), *ALONE) if is_spread else RINGS
    return sorted(items, key=lambda item: order.index(ring_of(item)))


def _folder(nodeid: str) -> str:
    return nodeid.split("/")[1]


class RingScheduling(LoadFileScheduling):  # type: ignore[misc]
    """Tests of one file stay in one process, and those of all the rings in ALONE, in order."""

    def _split_scope(self, nodeid: str) -> str:
        if _folder(nodeid) in ALONE:
            return "alone"
        return nodeid if nodeid.startswith(SWEEPS) else str(super()._split_scope(nodeid))


class Turns:
    """Plugin: who has a ring of ALONE to run waits until no other process of this run is at work.

    Every process holds a lock together with the others while it works; the kernel drops it with the process.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._lock: IO[bytes] | None = None
        if given := getattr(config, "workerinput", {}).get(_LOCK):
            self._lock = open(given, "rb")  # noqa: SIM115
            fcntl.flock(self._lock, fcntl.LOCK_SH)
        self._is_alone = self._lock is None

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """The first process makes the lock, and ends last."""
        if self._lock is None:
            self._lock = NamedTemporaryFile(prefix="pileus-tests-")  # noqa: SIM115
        node.workerinput[_LOCK] = self._lock.name

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> RingScheduling:
        return RingScheduling(config, log)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be read ends the run at once, as without pytest-xdist, which would go on."""
        first = self._config.pluginmanager.get_plugin("dsession")
        if report.failed and first is not None:
            first.shouldstop = f"error during collection of {report.nodeid}"

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Before any fixture of the test."""
        if self._lock is not None and not self._is_alone and ring_of(item) in ALONE:
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            self._is_alone = True

    def pytest_unconfigure(self) -> None:
        if self._lock is not None:
            self._lock.close()
