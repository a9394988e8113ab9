"""Asking services whether they work: all at once, again and again until they do or their time is over."""

import logging
import queue
import threading
import time
from collections.abc import Iterable

import msgspec

from systemvm.engine.errors import EngineError
from systemvm.engine.service import Doors, Rendering, Service
from systemvm.spec.state import State
from systemvm.spec.types import ProbeResult

log = logging.getLogger(__name__)

#: Seconds between two tries of a probe: the first, and the most it grows to.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 1.0
#: Seconds that a probe may overrun its deadline before its answer is no longer awaited.
_OVERRUN = 5.0


def probe_all(
    targets: Iterable[tuple[Service, Rendering]], state: State, doors: Doors, *, patient: bool = True
) -> list[ProbeResult]:
    """Results of all services' probes, in their order, and of each daemon that should run and does not.

    `patient` tries again until each service's deadline (after an apply); otherwise each is asked once.
    A probe that raises or never answers is an unhealthy result, in words.
    """
    waiting = [(target[0], _start(target, state, doors, patient)) for target in targets]
    started = time.monotonic()
    results: list[ProbeResult] = []
    for service, answers in waiting:
        left = started + service.deadline + _OVERRUN - time.monotonic()
        try:
            results.extend(answers.get(timeout=max(left, 0.0)))
        except queue.Empty:
            results.append(_unhealthy(service, f"no answer within {service.deadline + _OVERRUN:g} s"))
    return results


def _start(
    target: tuple[Service, Rendering], state: State, doors: Doors, patient: bool
) -> "queue.SimpleQueue[list[ProbeResult]]":
    """One daemon thread per service: a probe that hangs must not keep the agent from ending."""
    answers: queue.SimpleQueue[list[ProbeResult]] = queue.SimpleQueue()

    def work() -> None:
        answers.put(_until_healthy(target, state, doors) if patient else _once(target, state, doors))

    threading.Thread(target=work, name=f"probe-{target[0].name}", daemon=True).start()
    return answers


def _until_healthy(target: tuple[Service, Rendering], state: State, doors: Doors) -> list[ProbeResult]:
    deadline = time.monotonic() + target[0].deadline
    pause = _FIRST_PAUSE
    while True:
        results = _once(target, state, doors)
        if all(result.healthy for result in results) or time.monotonic() + pause > deadline:
            return results
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


def _once(target: tuple[Service, Rendering], state: State, doors: Doors) -> list[ProbeResult]:
    service, rendering = target
    started = time.monotonic()
    try:
        results = [*_dead_daemons(service, rendering, doors), *service.probe(state, doors)]
    except (EngineError, OSError) as error:
        results = [_unhealthy(service, str(error))]
    except Exception as error:
        log.exception("probe of %s broke", service.name)
        results = [_unhealthy(service, f"the probe itself broke: {error!r}")]
    seconds = round(time.monotonic() - started, 3)
    return [
        result if result.seconds else msgspec.structs.replace(result, seconds=seconds) for result in results
    ]


def _dead_daemons(service: Service, rendering: Rendering, doors: Doors) -> list[ProbeResult]:
    results = []
    for daemon in rendering.daemons:
        if not doors.daemons.is_running(daemon.name):
            words = " / ".join(doors.daemons.logs(daemon.name, 3)) or "none"
            message = f"does not run; its last words: {words}"
            results.append(
                ProbeResult(
                    service=service.name, name=f"daemon {daemon.name}", healthy=False, message=message
                )
            )
    return results


def _unhealthy(service: Service, message: str) -> ProbeResult:
    return ProbeResult(service=service.name, name="probe", healthy=False, message=message)
