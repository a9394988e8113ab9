"""The loop: look, decide, act, every few seconds or when something asks for it."""

import logging
import threading
import time
from collections.abc import Callable

from mgmt.metrics.measured import FAILED_ROUNDS, LAST_ROUND, ROUND_SECONDS
from mgmt.ops.runtime import Runtime
from mgmt.ops.storage.shared_pools import tidy_pools
from mgmt.reconcile.act import act
from mgmt.reconcile.alerts import update_alerts
from mgmt.reconcile.certificates import Certificates
from mgmt.reconcile.decide import Action, decide
from mgmt.reconcile.listen import Listener
from mgmt.reconcile.look import look_at_host, take_snapshot
from mgmt.reconcile.policies import run_policies
from mgmt.reconcile.renew import renew
from mgmt.reconcile.sweep import Sweeper
from mgmt.reconcile.tidy import PAUSE, tidy
from mgmt.reconcile.traffic import watch_traffic
from mgmt.reconcile.watch import watch_health, watch_templates
from systemvm.spec.host import HostInfo

log = logging.getLogger(__name__)

PERIOD = 5.0
#: Ticks between two looks at health (probes cost an emulated machine a second), at hosts' sizes and old rows.
HEALTH_EVERY, INFO_EVERY = 6, 6
#: The same for the bytes that routers have counted: five minutes, as CloudStack reads them.
TRAFFIC_EVERY = 60
#: A look at very many hosts takes long: the loop then rests so many times as long, to leave time to others.
REST = 9.0
#: How many actions run beside each other.
MOST_AT_ONCE = 8
#: The name of the lock whose holder runs the loop.
DUTY = "reconcile"
_HEALTH, _CERTIFICATES, _TIDY, _TRAFFIC, _POOLS = "health", "certificates", "tidy", "traffic", "pools"
_TEMPLATES = "templates"
_UNPAUSED = {_HEALTH, _CERTIFICATES, _TIDY, _TRAFFIC, _POOLS, _TEMPLATES}
#: Seconds before what failed is tried again, doubled each time up to the last value.
FIRST_PAUSE, LONGEST_PAUSE = 10.0, 300.0


class Reconciler:
    """Brings the cloud back to what it should be. `sweep_jobs` starts jobs that nobody started.

    Of several servers one does this, as long as it lives: what it does is not made to be done twice at once.
    """

    def __init__(
        self,
        runtime: Runtime,
        sweep_jobs: Callable[[], None] = lambda: None,
        period: float = PERIOD,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runtime = runtime
        self._sweep_jobs = sweep_jobs
        self._period = period
        self._monotonic = monotonic
        self._certificates = Certificates(runtime)
        self._silent: dict[str, int] = {}
        self._infos: dict[str, HostInfo] = {}
        self._working: dict[str, _Work] = {}
        self._pauses: dict[str, tuple[float, float]] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._ticks = 0
        self._tidied = monotonic()
        self._sweeper = Sweeper(runtime, monotonic)
        self._listener = Listener(runtime, self.look_at)
        self._lock = threading.RLock()

    def start(self) -> None:
        """Run in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="reconcile", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the current tick. Actions under way end with the process; the next one repeats them."""
        self._stopping.set()
        self._listener.stop()
        self._runtime.wake.set()
        if self._thread is not None:
            self._thread.join()

    def tick(self) -> list[Action]:
        """Look once and start what is to be done; what was started."""
        self._collect()
        count, self._ticks = self._ticks, self._ticks + 1
        if count % HEALTH_EVERY == 1:
            self._submit(_HEALTH, lambda: watch_health(self._runtime, self._silent))
        if count % TRAFFIC_EVERY == 2:
            self._submit(_TRAFFIC, lambda: watch_traffic(self._runtime))
        if count % INFO_EVERY == 0:
            self._submit(_CERTIFICATES, self._certificates.look)
        if self._monotonic() >= self._tidied + PAUSE.total_seconds() and self._submit(
            _TIDY, lambda: tidy(self._runtime)
        ):
            self._tidied = self._monotonic()
        self._submit(_TEMPLATES, lambda: watch_templates(self._runtime))
        snapshot = take_snapshot(
            self._runtime,
            self._silent,
            self._certificates.unrenewed,
            self._infos,
            with_info=count % INFO_EVERY == 0,
        )
        if count % INFO_EVERY == 0:
            infos = dict(self._infos)
            self._submit(_POOLS, lambda: tidy_pools(self._runtime, infos))
        with self._lock:
            started = [action for action in decide(snapshot) if self._begin(action)]
        run_policies(self._runtime)
        self._sweep_jobs()
        if count % INFO_EVERY == 0:
            self._sweeper.sweep()
            renew(self._runtime)
            unrenewed = dict(self._certificates.unrenewed)
            update_alerts(self._runtime, {subject: left.days_left for subject, left in unrenewed.items()})
        return started

    def look_at(self, host_id: str) -> list[Action]:
        """Look at one host, beside the loop, and start what is to be done there; what was started."""
        snapshot = look_at_host(self._runtime, host_id, self._silent, self._certificates.unrenewed)
        with self._lock:
            self._collect()
            return [action for action in decide(snapshot) if self._begin(action)]

    def wait_idle(self) -> None:
        """Wait until every action that was started has ended."""
        for work in list(self._working.values()):
            work.thread.join()
        self._collect()

    def _run(self) -> None:
        while not self._stopping.is_set():
            begun = self._monotonic()
            try:
                if self._runtime.locks.keep(DUTY):
                    with ROUND_SECONDS.time(), FAILED_ROUNDS.count_exceptions():
                        self._listener.follow_all()
                        self.tick()
                else:
                    self._listener.stop()
                LAST_ROUND.set_to_current_time()  # also where another server is on duty
            except Exception:
                log.exception("a round of the reconcile loop failed; the next one tries again")
            self._runtime.wake.wait(max(self._period, (self._monotonic() - begun) * REST))
            self._runtime.wake.clear()

    def _begin(self, action: Action) -> bool:
        not_before, _ = self._pauses.get(action.subject, (0.0, 0.0))
        if self._monotonic() < not_before:
            return False
        return self._submit(action.subject, lambda: act(self._runtime, action))

    def _submit(self, subject: str, work: Callable[[], str | None]) -> bool:
        """Run it beside the loop unless something about `subject` runs already, or too much does."""
        with self._lock:
            if subject in self._working or len(self._working) >= MOST_AT_ONCE:
                return False
            self._working[subject] = _Work(subject, work)
            return True

    def _collect(self) -> None:
        with self._lock:
            for subject in [name for name, work in self._working.items() if not work.thread.is_alive()]:
                self._pause(subject, has_failed=self._working.pop(subject).has_failed)

    def _pause(self, subject: str, *, has_failed: bool) -> None:
        if not has_failed or subject in _UNPAUSED:
            self._pauses.pop(subject, None)
            return
        _, last = self._pauses.get(subject, (0.0, 0.0))
        pause = min(max(last * 2, FIRST_PAUSE), LONGEST_PAUSE)
        self._pauses[subject] = (self._monotonic() + pause, pause)


class _Work:
    """Something that runs in a thread of its own, which the end of the process does not wait for."""

    def __init__(self, subject: str, work: Callable[[], str | None]) -> None:
        self.has_failed = False
        self._subject = subject
        self._do = work
        self.thread = threading.Thread(target=self._run, name=f"reconcile {subject}", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.has_failed = bool(self._do())
        except Exception:
            self.has_failed = True
            log.exception("an action on %s failed unexpectedly", self._subject)
