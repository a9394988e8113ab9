"""The systemd unit that brings the cloud back when the machine boots: `pileus up`, as it was last asked for.

The daemons themselves are transient units, which a boot forgets; so one unit is enough, and nothing else of
this cloud is under /etc/systemd.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from systemvm.engine.command import run
from systemvm.engine.files import write_atomic
from systemvm.engine.service import Runner

UNIT = "pileus.service"
#: Where an administrator's units are (systemd.unit(5), "Unit File Load Path").
FOLDER = Path("/etc/systemd/system")
#: Seconds until a `pileus up` that failed at boot is tried again: what it needs may come late.
RETRY_SECONDS = 30


@dataclass(frozen=True)
class BootUnit:
    """The unit in `folder`, and what systemd knows of it. Verbs are idempotent; they raise CommandError."""

    run: Runner = run
    folder: Path = FOLDER

    @property
    def file(self) -> Path:
        """The unit file."""
        return self.folder / UNIT

    def enable(self, text: str) -> None:
        """The next boot starts the unit; nothing is started now."""
        if write_atomic(self.file, text.encode()):
            self.run(("systemctl", "daemon-reload"))
        self.run(("systemctl", "enable", UNIT))

    def disable(self) -> bool:
        """No boot starts it any more, and a start that is on its way ends. False if there is no unit."""
        if not self.file.exists():
            return False
        self.run(("systemctl", "disable", "--now", UNIT))
        return True

    def remove(self) -> bool:
        """Disable it and remove its file. False if there is no unit."""
        if not self.disable():
            return False
        self.file.unlink()
        self.run(("systemctl", "daemon-reload"))
        return True


def render_unit(argv: tuple[str, ...], environment: Mapping[str, str], folders: tuple[Path, ...]) -> str:
    """The unit file: it runs `argv` once the network and `folders` are there, until it succeeds.

    Raises ValueError for what systemd.syntax(7) cannot carry.
    """
    lines = (
        "[Unit]",
        "Description=Pileus, the cloud of this machine",
        "Wants=network-online.target",
        "After=network-online.target",
        f"RequiresMountsFor={' '.join(_quoted(str(folder)) for folder in folders)}",
        "",
        "[Service]",
        "Type=oneshot",
        "RemainAfterExit=yes",
        f"ExecStart={' '.join(_argument(word) for word in argv)}",
        *(f"Environment={_quoted(f'{name}={value}')}" for name, value in sorted(environment.items())),
        "Restart=on-failure",
        f"RestartSec={RETRY_SECONDS}",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
        "",
    )
    return "\n".join(lines)


def _argument(word: str) -> str:
    """One word of a command line (systemd.service(5), "Command Lines")."""
    return _quoted(word).replace("$", "$$")


def _quoted(word: str) -> str:
    if not word.isprintable():
        raise ValueError(f"{word!r} cannot stand in a unit file")
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'
