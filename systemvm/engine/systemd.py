"""Daemons as transient systemd units `pileus-<name>`: how they run in every system VM.

Nothing is written under /etc/systemd and nothing is enabled: after a reboot the agent applies its last
good generation, and that alone decides what runs. The description of the unit carries a digest of the
`Daemon`, so systemd itself is the only place that remembers what runs. Each `systemctl` costs a quarter
of a second on an emulated processor, so there are few.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from systemvm.engine.command import run
from systemvm.engine.daemons import Daemon, resolve_pid
from systemvm.engine.errors import CommandError
from systemvm.engine.settling import start_ticks, wait_until_settled

#: Where systemd keeps the control groups of system services (cgroups(7), version 2).
CGROUPS = Path("/sys/fs/cgroup/system.slice")
#: Where systemd keeps transient units while they are loaded (systemd.unit(5), "Unit File Load Path").
TRANSIENT = Path("/run/systemd/transient")


class Systemd:
    """Implements `Daemons` with the machine's own systemd."""

    def ensure(self, daemon: Daemon) -> bool:
        """See Daemons. Raises CommandError, with its last words, when it dies at once."""
        description = _recorded(daemon.name)
        if description == _description(daemon) and self.is_running(daemon.name):
            return False
        if description:
            self.stop(daemon.name)
        self._start(daemon)
        return True

    def reload(self, daemon: Daemon) -> None:
        """See Daemons."""
        if self.ensure(daemon):
            return
        pid = self.pid(daemon.name)
        if daemon.reload and pid is not None:
            run(resolve_pid(daemon.reload, pid))
            return
        _systemctl("restart", _unit(daemon.name))
        self._settle(daemon)

    def stop(self, name: str) -> None:
        """See Daemons."""
        # 5: the unit is not loaded (systemctl(1), exit status).
        _systemctl("stop", _unit(name), accept=(0, 5))

    def is_running(self, name: str) -> bool:
        """See Daemons; asked often, so it asks the kernel and not systemd."""
        try:
            events = (CGROUPS / _unit(name) / "cgroup.events").read_text()
        except OSError:
            return False
        return "populated 1" in events.splitlines()

    def pid(self, name: str) -> int | None:
        """See Daemons."""
        try:
            listed = (CGROUPS / _unit(name) / "cgroup.procs").read_text().split()
        except OSError:
            return None
        started = {ticks: int(pid) for pid in listed if (ticks := start_ticks(int(pid))) is not None}
        # The main process is the one that started the others.
        return started[min(started)] if started else None

    def logs(self, name: str, lines: int) -> list[str]:
        """See Daemons."""
        # What was printed a moment ago may still be on its way into the journal.
        run(("journalctl", "--sync"), accept=(0, 1))
        # Its own words, to its output or to syslog, without systemd's about it.
        wanted = f"_SYSTEMD_UNIT={_unit(name)}"
        argv = ("journalctl", wanted, "--output=cat", "--no-pager", "--quiet", f"--lines={lines}")
        return run(argv).stdout.splitlines()

    def _start(self, daemon: Daemon) -> None:
        properties = {
            "Type": "exec",  # a missing program or user fails the start, not silence
            "Restart": "always",
            "RestartSec": "1",
            "StartLimitIntervalSec": "0",
            "KillMode": "process" if daemon.leaves_children else "mixed",
            "TimeoutStopSec": "10",
            "SyslogIdentifier": f"pileus-{daemon.name}",
            **({"User": daemon.user} if daemon.user else {}),
            **({"MemoryMax": f"{daemon.memory_mib}M"} if daemon.memory_mib else {}),
        }
        run(
            (
                "systemd-run",
                "--quiet",
                "--collect",  # a unit that failed is forgotten: its name is free again
                f"--unit={_unit(daemon.name)}",
                f"--description={_description(daemon)}",
                *(f"--property={key}={value}" for key, value in properties.items()),
                *(f"--setenv={key}={value}" for key, value in sorted(daemon.environment.items())),
                "--",
                *daemon.argv,
            )
        )
        self._settle(daemon)

    def _settle(self, daemon: Daemon) -> None:
        """Raise CommandError, with its last words, if the daemon does not stay up."""
        pid = self.pid(daemon.name)
        if pid is not None and wait_until_settled(pid):
            return
        status = _systemctl("show", "--property=ExecMainStatus", "--value", _unit(daemon.name)).strip()
        said = "\n".join(self.logs(daemon.name, 20))
        self.stop(daemon.name)
        raise CommandError(daemon.argv, int(status or 0), "", said)


def is_present() -> bool:
    """Whether systemd is this machine's init (sd_booted(3))."""
    return Path("/run/systemd/system").is_dir()


def _recorded(name: str) -> str:
    """Description of the unit as systemd has it loaded, empty if it has none."""
    try:
        lines = (TRANSIENT / _unit(name)).read_text().splitlines()
    except FileNotFoundError:
        return ""
    return next((line.partition("=")[2] for line in lines if line.startswith("Description=")), "")


def _systemctl(verb: str, *words: str, accept: tuple[int, ...] = (0,)) -> str:
    return run(("systemctl", verb, *words), accept=accept).stdout


def _unit(name: str) -> str:
    return f"pileus-{name}.service"


def _description(daemon: Daemon) -> str:
    digest = hashlib.sha256(json.dumps(asdict(daemon), sort_keys=True).encode()).hexdigest()[:16]
    return f"Pileus {daemon.name} {digest}"
