"""What the engine answers: the outcome of an apply, and the health of the machine."""

from enum import StrEnum

from msgspec import Struct

from systemvm.spec.types import ProbeResult, Problem


class Result(StrEnum):
    """What became of a document."""

    applied = "applied"
    unchanged = "unchanged"
    recovered = "recovered"


class Outcome(Struct, frozen=True, kw_only=True):
    """What an apply did; `services` are those it touched, `problems` what a recovery could not do."""

    generation: int
    result: Result
    services: tuple[str, ...] = ()
    probes: tuple[ProbeResult, ...] = ()
    problems: tuple[Problem, ...] = ()
    seconds: float = 0.0


class Activity(StrEnum):
    """What the engine does at the moment."""

    ready = "ready"
    applying = "applying"
    recovering = "recovering"


class Health(Struct, frozen=True, kw_only=True):
    """Whether the machine works, apart from what is applied: two separate answers.

    `applied` is the generation that holds, None before the first document.
    """

    healthy: bool
    activity: Activity
    applied: int | None
    message: str
    probes: tuple[ProbeResult, ...] = ()
