"""The apply engine: one document in, and the machine is so, or as it was before.

Parse, check all, render all, stage, native checks, swap and apply in order, probe, record; on any failure
the last good generation is back.
"""

import hashlib
import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec

from systemvm.engine.change import Change, Step, StepFailed, in_words, is_intact, problems_of
from systemvm.engine.control import check_control_channel
from systemvm.engine.errors import ApplyFailed, Busy, InvalidDocument, StaleGeneration
from systemvm.engine.generations import Generation, Generations
from systemvm.engine.outcome import Activity, Health, Outcome, Result
from systemvm.engine.probes import probe_all
from systemvm.engine.registry import Services, in_order, sections_of, with_dependents
from systemvm.engine.service import Doors, Rendering, Service
from systemvm.spec import codec
from systemvm.spec.bootstrap import Bootstrap
from systemvm.spec.state import State
from systemvm.spec.types import ProbeResult, Problem

log = logging.getLogger(__name__)

Renderings = Mapping[str, Rendering]
_NOTHING = Rendering()


@dataclass(frozen=True)
class Applied:
    """What the machine is now: a document, its bytes, and what each service made of it."""

    state: State
    document: bytes
    renderings: Renderings = field(default_factory=dict)


class Engine:
    """Applies documents to this machine, one at a time.

    `recover` must be called once after the start; until it ends every `apply` is refused as Busy.
    `control` asks whether mgmt can still reach the agent; a document after which it cannot is undone.
    """

    def __init__(
        self,
        services: Services,
        doors: Doors,
        bootstrap: Bootstrap | None = None,
        control: Callable[[], ProbeResult] | None = None,
    ) -> None:
        self._services = services
        self._doors = doors
        self._bootstrap = bootstrap
        self._control = control
        self._applied: Applied | None = None
        #: Services that are not as the applied document says, because bringing them there failed.
        self._dirty: set[str] = set()
        #: Why the last good generation could not even be looked up; empty if it could.
        self._unrecovered = ""
        self._lock = threading.Lock()
        self._activity = Activity.recovering
        self._applying = 0
        self._store: Generations | None = None
        self._probing = threading.Lock()
        self._probed: tuple[float, tuple[ProbeResult, ...]] | None = None

    # -- reading ---------------------------------------------------------------------------------------

    @property
    def activity(self) -> Activity:
        """What the engine does at the moment."""
        return self._activity

    @property
    def applied(self) -> Applied | None:
        """What the machine is now, None before the first document."""
        return self._applied

    @property
    def is_dirty(self) -> bool:
        """Whether a service could not be brought to the applied document; `recover` tries again."""
        return bool(self._dirty or self._unrecovered)

    def kept(self) -> tuple[Generation, ...]:
        """The recorded generations, newest first; empty while the engine still recovers."""
        return () if self._store is None else self._store.kept()

    def generation(self, number: int | None = None) -> Generation | None:
        """A recorded generation, by default the one that is applied; None if there is no such."""
        if number is None:
            number = self._applied.state.generation if self._applied else 0
        return None if self._store is None else self._store.get(number)

    def probe(self) -> tuple[ProbeResult, ...]:
        """Ask every service of the applied document once whether it works."""
        with self._probing:
            return self._probe_once()

    def health(self, max_age: float = 10.0) -> Health:
        """Whether the machine works, from probes at most `max_age` seconds old."""
        applied = self._applied
        generation = applied.state.generation if applied else None
        if self._activity is Activity.recovering:
            message = "the last good generation is being recovered"
            return Health(healthy=False, activity=self._activity, applied=generation, message=message)
        with self._probing:
            is_recent = self._probed is not None and time.monotonic() - self._probed[0] <= max_age
            # While a document is being applied, probes would only report its middle.
            if not is_recent and self._activity is Activity.ready:
                self._probe_once()
            probes = self._probed[1] if self._probed else ()
        ill = [f"{probe.service}: {probe.message}" for probe in probes if not probe.healthy]
        ill += [self._unrecovered] if self._unrecovered else []
        ill += [f"{name}: could not be brought to the applied generation" for name in sorted(self._dirty)]
        return Health(
            healthy=not ill,
            activity=self._activity,
            applied=generation,
            message="; ".join(ill) or ("works" if applied else "waits for its first document"),
            probes=probes,
        )

    def _probe_once(self) -> tuple[ProbeResult, ...]:
        results: list[ProbeResult] = []
        if self._applied:
            present = sections_of(self._applied.state)
            loaded = [self._services.load(name) for name in present]
            targets = [(service, self._rendering_of(service.name)) for service in in_order(loaded)]
            results += probe_all(targets, self._applied.state, self._doors, patient=False)
        if self._control is not None:
            results.append(self._control())
        self._probed = (time.monotonic(), tuple(results))
        return tuple(results)

    # -- applying --------------------------------------------------------------------------------------

    def apply(self, raw: bytes, *, force: bool = False) -> Outcome:
        """Make the machine what the JSON document says; `force` touches also what seems unchanged.

        Raises InvalidDocument, StaleGeneration or Busy with nothing touched, ApplyFailed with the last
        good generation back in place.
        """
        started = time.monotonic()
        state = self._parse(raw)
        document = codec.encode(state)
        with self._exclusively(Activity.applying, state.generation):
            self._refuse_stale(state, document)
            services = self._load(state)
            self._check(state, services)
            renderings = {service.name: service.render(state) for service in services}
            steps = self._steps(services, renderings, force)
            if not steps:
                self._record(state, document, renderings)
                return Outcome(generation=state.generation, result=Result.unchanged, seconds=_since(started))
            change = Change(steps, self._doors, state.generation)
            probes = self._transition(state, document, renderings, change, services)
            log.info("generation %d is applied: %s changed", state.generation, ", ".join(change.services))
            return Outcome(
                generation=state.generation,
                result=Result.applied,
                services=change.services,
                probes=tuple(probes),
                seconds=_since(started),
            )

    def _parse(self, raw: bytes) -> State:
        problems = codec.problems(raw, State)
        if problems:
            raise InvalidDocument(problems)
        return codec.decode(raw, State)

    def _refuse_stale(self, state: State, document: bytes) -> None:
        if self._applied is None:
            return
        last = self._applied.state.generation
        if state.generation < last:
            raise StaleGeneration(f"generation {state.generation} is older than {last}, which is applied")
        if state.generation == last and document != self._applied.document:
            raise StaleGeneration(f"generation {last} is applied with other content; send it as {last + 1}")

    def _load(self, state: State) -> list[Service]:
        """Services of the document and those of the last one, in order; InvalidDocument for unknown ones."""
        last = self._applied.state if self._applied else None
        names = dict.fromkeys((*sections_of(state), *sections_of(last)))
        missing = sorted(names.keys() - set(self._services.names()))
        if missing:
            raise InvalidDocument(
                [Problem(path=name, message=f"this machine has no service {name}") for name in missing]
            )
        return in_order(self._services.load(name) for name in names)

    def _check(self, state: State, services: list[Service]) -> None:
        problems = check_control_channel(state, self._bootstrap) if self._bootstrap else []
        for service in services:
            problems += service.check(state)
        if problems:
            raise InvalidDocument(problems)

    def _steps(self, services: list[Service], renderings: Renderings, force: bool) -> list[Step]:
        steps = []
        for service in services:
            new, old = renderings[service.name], self._rendering_of(service.name)
            if force or new != old or service.name in self._dirty or not is_intact(new, self._doors):
                steps.append(Step(service, new, old))
        return steps

    def _rendering_of(self, name: str) -> Rendering:
        return self._applied.renderings.get(name, _NOTHING) if self._applied else _NOTHING

    def _transition(
        self,
        state: State,
        document: bytes,
        renderings: Renderings,
        change: Change,
        services: list[Service],
    ) -> list[ProbeResult]:
        generations = self._generations()
        try:
            generations.begin(state.generation, document, self._doors.now())
            change.stage()
            if refused := change.refusals():
                raise ApplyFailed("a daemon refuses it", refused)
            change.prepare()
            change.perform()
            probes = self._prove(state, renderings, change, services)
            self._record(state, document, renderings)
        except Exception as error:
            raise self._roll_back(state, document, change, error) from error
        finally:
            change.close()
        self._dirty -= set(change.services)
        return probes

    def _prove(
        self, state: State, renderings: Renderings, change: Change, services: list[Service]
    ) -> list[ProbeResult]:
        """Probe what changed and what depends on it. Raises ApplyFailed with the probes' words."""
        present = set(sections_of(state)) & with_dependents(change.services, services)
        targets = [(service, renderings[service.name]) for service in services if service.name in present]
        results = probe_all(targets, state, self._doors)
        if self._control is not None:
            results.append(self._control())
        ill = [result for result in results if not result.healthy]
        if ill:
            raise ApplyFailed(
                "it does not work",
                [Problem(path=result.service, message=f"{result.name}: {result.message}") for result in ill],
            )
        return results

    def _record(self, state: State, document: bytes, renderings: Renderings) -> None:
        self._generations().finish(state.generation, document, _digest(renderings), self._doors.now())
        self._applied = Applied(state, document, renderings)
        self._unrecovered = ""
        self._probed = None

    def _roll_back(self, state: State, document: bytes, change: Change, error: Exception) -> ApplyFailed:
        problems = problems_of(error)
        log.warning("generation %d is undone, because %s", state.generation, in_words(problems))
        failures = change.undo()
        self._dirty |= {failure.problem.path for failure in failures}
        self._probed = None
        last = f"generation {self._applied.state.generation}" if self._applied else "the empty machine"
        back = f"{last} is back"
        if failures:
            back = f"and {last} could not be brought back: {in_words([each.problem for each in failures])}"
        with _logging_disk_errors():
            change.keep_refused()
        with _logging_disk_errors():
            self._generations().fail(state.generation, document, in_words(problems), self._doors.now())
        message = f"generation {state.generation} is refused: {in_words(problems)}; {back}"
        return ApplyFailed(message, problems)

    # -- recovering ------------------------------------------------------------------------------------

    def recover(self) -> Outcome | None:
        """After a start: apply the last good generation again, whole, whatever the machine looks like.

        Also cleans up behind an apply that was cut by a crash. A service that cannot be brought up does
        not stop the others; it is in `problems`, and a later `recover` tries it again. None if there is
        nothing to recover.
        """
        started = time.monotonic()
        with self._exclusively(Activity.recovering):
            self._unrecovered = "the last good generation could not be recovered; the log says why"
            generations = self._generations()
            shutil.rmtree(self._doors.run_dir / "stage", ignore_errors=True)
            cut, good = generations.interrupted(), generations.last_good()
            outcome = None
            if cut is not None or good is not None:
                outcome = self._reapply(good, cut, started)
            if cut is not None:
                log.warning("generation %d was cut by a crash; it is undone", cut.generation)
                words = "cut by a crash while it was being applied"
                generations.fail(cut.generation, cut.document, words, self._doors.now())
            self._unrecovered = ""
            return outcome

    def _reapply(self, good: Generation | None, cut: Generation | None, started: float) -> Outcome | None:
        state, old_state = _state_of(good), _state_of(cut)
        names = dict.fromkeys((*sections_of(state), *sections_of(old_state)))
        services = in_order(self._services.load(name) for name in names)
        renderings = {service.name: service.render(state) for service in services} if state else {}
        old = {service.name: service.render(old_state) for service in services} if old_state else {}
        steps = [
            Step(service, renderings.get(service.name, _NOTHING), old.get(service.name, _NOTHING))
            for service in services
        ]
        failures = self._perform(Change(steps, self._doors, good.generation if good else 0))
        self._dirty = {failure.problem.path for failure in failures}
        self._probed = None
        if state is None or good is None:
            return None
        self._applied = Applied(state, good.document, renderings)
        log.info("generation %d is recovered; %d services failed", good.generation, len(failures))
        return Outcome(
            generation=state.generation,
            result=Result.recovered,
            services=tuple(service.name for service in services),
            problems=tuple(failure.problem for failure in failures),
            seconds=_since(started),
        )

    def _perform(self, change: Change) -> list[StepFailed]:
        try:
            change.prepare()
            return change.perform_all()
        except OSError as error:
            return [StepFailed(name, error) for name in change.services]
        finally:
            change.close()

    # -- keeping ---------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the record."""
        if self._store is not None:
            self._store.close()

    def _generations(self) -> Generations:
        if self._store is None:
            self._store = Generations(self._doors.state_dir / "agent.db")
        return self._store

    @contextmanager
    def _exclusively(self, activity: Activity, generation: int = 0) -> Iterator[None]:
        """One apply at a time. Raises Busy with what is running."""
        if activity is Activity.applying and self._activity is Activity.recovering:
            raise Busy("the last good generation is being recovered; try again when health answers")
        if not self._lock.acquire(blocking=False):
            raise Busy(f"generation {self._applying} is being applied; try again when it is done")
        try:
            self._activity, self._applying = activity, generation
            yield
        finally:
            self._activity = Activity.ready
            self._lock.release()


def _since(started: float) -> float:
    return round(time.monotonic() - started, 3)


def _digest(renderings: Renderings) -> str:
    """Of everything that the services want; equal digests mean that a machine looks the same."""
    data = msgspec.json.encode(dict(renderings), order="deterministic", enc_hook=repr)
    return hashlib.sha256(data).hexdigest()


def _state_of(generation: Generation | None) -> State | None:
    if generation is None:
        return None
    try:
        return codec.decode(generation.document, State)
    except codec.DocumentError:
        log.exception("recorded generation %d is not readable by this version", generation.generation)
        return None


@contextmanager
def _logging_disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        log.error("a note about a failed generation could not be kept: %s", error)
