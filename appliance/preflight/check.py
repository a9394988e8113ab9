"""What a check is: a small function that looks at a machine and says what it found."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from appliance.launcher.settings import Settings
from appliance.paths import Paths
from appliance.preflight.machine import Machine

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class CheckResult:
    """`cause` is what was found, `repair` what to do about it; nothing is to do when `level` is `ok`."""

    name: str
    level: Level
    cause: str
    repair: str = ""


@dataclass(frozen=True)
class Subject:
    """What is checked: this machine, for a cloud of these settings in these paths."""

    paths: Paths
    settings: Settings
    machine: Machine


Finding = tuple[Level, str, str]
Check = Callable[[Subject], Finding]


def ok(cause: str) -> Finding:
    """Nothing to do."""
    return "ok", cause, ""


def warn(cause: str, repair: str) -> Finding:
    """It will work, but not as well as it could."""
    return "warn", cause, repair


def fail(cause: str, repair: str) -> Finding:
    """It cannot work."""
    return "fail", cause, repair
