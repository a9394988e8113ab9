"""The one way to run daemons: a protocol with two implementations, systemd's and plain processes.

A daemon is described once (`Daemon`), by the service that needs it. In a system VM systemd runs it
(`systemd.py`, as a transient unit, so that nothing but the applied document decides what runs); where
there is no systemd (tests in a namespace, DevCloud in a container) `processes.py` does.
"""

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Daemon:
    """A program that runs in the foreground under a name.

    `reload` is an argv that makes it read its files again (for example `("kill", "-HUP", "{pid}")`);
    empty means restart. `{pid}` is replaced by the main process's id. `user` empty means root.
    Neither argv nor environment may hold a secret: both are readable (`ps`, `systemctl show`).
    """

    name: str
    argv: tuple[str, ...]
    reload: tuple[str, ...] = ()
    user: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    #: Highest resident memory in MiB before the daemon is restarted by systemd; 0 is no bound.
    memory_mib: int = 0
    #: Its children are not its own business: they live on when it is stopped (libvirtd and its VMs).
    leaves_children: bool = False


class Daemons(Protocol):
    """Starts, reloads and stops daemons; every call is idempotent. Raises CommandError."""

    def ensure(self, daemon: Daemon) -> bool:
        """Start it unless it runs with this very description; restart it if the description differs.

        Returns True when it was (re)started: a caller that also wants its files read then need not reload.
        """
        ...

    def reload(self, daemon: Daemon) -> None:
        """Make a running daemon read its files again; start it if it does not run."""
        ...

    def stop(self, name: str) -> None:
        """Stop it if it runs, and do not start it again."""
        ...

    def is_running(self, name: str) -> bool:
        """Whether its main process lives."""
        ...

    def pid(self, name: str) -> int | None:
        """Main process id, None if it does not run."""
        ...

    def logs(self, name: str, lines: int) -> list[str]:
        """The last `lines` lines that it printed, oldest first; empty if it never ran."""
        ...


def resolve_pid(argv: tuple[str, ...], pid: int) -> tuple[str, ...]:
    """The argv with `{pid}` replaced."""
    return tuple(word.replace("{pid}", str(pid)) for word in argv)
