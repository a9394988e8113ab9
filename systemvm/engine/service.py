"""What a service is: a name, an order, and four verbs with the same signatures everywhere.

    check(state)             all problems of the service's own section, each with its path; touches nothing
    render(state)            pure: the files, the daemons and the native checks that the state needs
    apply(new, old, doors)   makes the machine so; the engine has already swapped the files in
    probe(state, doors)      functional checks, in words; never just compares files

The contract test inspects every folder of `systemvm/services` for these.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from systemvm.engine.command import Result
from systemvm.engine.daemons import Daemon, Daemons
from systemvm.spec.state import State
from systemvm.spec.types import ProbeResult, Problem


@dataclass(frozen=True)
class File:
    """A rendered file. `path` is absolute on the machine, e.g. `/etc/pileus/dnsmasq/dnsmasq.conf`."""

    path: str
    text: str
    mode: int = 0o644
    owner: str = ""
    group: str = ""


@dataclass(frozen=True)
class NativeCheck:
    """A daemon's own checker, run on the staged files before anything is swapped in.

    In `argv`, `{stage}` is the folder that holds the staged files under their absolute paths:
    `("nft", "-c", "-f", "{stage}/etc/pileus/nftables/ruleset.nft")`.
    """

    argv: tuple[str, ...]


@dataclass(frozen=True)
class Rendering:
    """Everything a service wants of the machine for one state; equal renderings mean nothing to do.

    A service that is off renders to `Rendering()`: no files, no daemons; the engine removes the files
    that the previous rendering had, and stops its daemons. `kernel` is what `apply` sets over netlink
    (plain comparable data).
    """

    files: tuple[File, ...] = ()
    checks: tuple[NativeCheck, ...] = ()
    daemons: tuple[Daemon, ...] = ()
    kernel: Any = None


class Runner(Protocol):
    """`systemvm.engine.command.run`, or a recording of it in unit tests."""

    def __call__(
        self,
        argv: "tuple[str, ...] | list[str]",
        *,
        stdin: str | None = None,
        timeout: float = 30.0,
        accept: tuple[int, ...] = (0,),
    ) -> Result:
        """Run a program to its end."""
        ...


@dataclass(frozen=True)
class Doors:
    """The doors to the operating system that verbs may use; nothing else is touched.

    `root` is `/` on a machine and a folder in tests; `state_dir` (under root) keeps what must survive
    reboots, `run_dir` what must not.
    """

    run: Runner
    daemons: Daemons
    now: Callable[[], float]
    root: Path = Path("/")
    state_dir: Path = Path("/var/lib/pileus")
    run_dir: Path = Path("/run/pileus")


@dataclass(frozen=True)
class Service:
    """One folder of `systemvm/services`, as the engine sees it.

    `after` names the services that must be applied before; `deadline` bounds its probes, in seconds.
    """

    name: str
    check: Callable[[State], list[Problem]]
    render: Callable[[State], Rendering]
    apply: Callable[[Rendering, Rendering, Doors], None]
    probe: Callable[[State, Doors], list[ProbeResult]]
    after: tuple[str, ...] = field(default=())
    deadline: float = 10.0
