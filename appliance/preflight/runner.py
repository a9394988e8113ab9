"""Runs the checks, in the order in which their answers help."""

from collections.abc import Callable

from appliance.launcher.settings import Settings
from appliance.paths import Paths
from appliance.preflight import acceleration, basics, building, networking
from appliance.preflight.check import Check, CheckResult, Subject
from appliance.preflight.machine import Machine

#: Name to check. A check never changes the machine and sends nothing anywhere.
CHECKS: dict[str, Check] = {
    "root": basics.check_root,
    "operating system": basics.check_release,
    "architecture": basics.check_architecture,
    "processors": basics.check_processors,
    "memory": basics.check_memory,
    "disk space": basics.check_disk,
    "home folder": basics.check_home,
    "programs": basics.check_programs,
    "Python": basics.check_python,
    "clock": basics.check_clock,
    "randomness": basics.check_random,
    "open files": basics.check_open_files,
    "kernel networking": networking.check_kernel_networking,
    "tap device": networking.check_tun_device,
    "mount namespaces": networking.check_mount_namespaces,
    "ports": networking.check_ports,
    "address ranges": networking.check_ranges,
    "bridge names": networking.check_bridges,
    "uplink": networking.check_uplink,
    "IPv4 forwarding": networking.check_forwarding,
    "other firewalls": networking.check_foreign_firewall,
    "image builds": building.check_image_builds,
    "scratch folder": building.check_scratch,
    "acceleration": acceleration.check_acceleration,
}


def run_preflight(
    paths: Paths,
    settings: Settings,
    say: Callable[[str], None] = lambda _words: None,
    machine: Machine | None = None,
) -> list[CheckResult]:
    """The result of every check, in order; `say` is told the name of each before it runs.

    A check that breaks is a failed check with the error's words: preflight itself never raises.
    """
    subject = Subject(paths, settings, machine or Machine())
    results = []
    for name, check in CHECKS.items():
        say(name)
        results.append(_run_check(name, check, subject))
    return results


def _run_check(name: str, check: Check, subject: Subject) -> CheckResult:
    try:
        return CheckResult(name, *check(subject))
    except Exception as error:
        cause = f"the check itself broke: {type(error).__name__}: {error}"
        return CheckResult(name, "fail", cause, "report this as a bug of Pileus")
