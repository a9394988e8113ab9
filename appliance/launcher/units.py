"""Daemon descriptions as systemd unit files, for machines where systemd keeps a node running across boots."""

from systemvm.engine.daemons import Daemon


def unit_name(daemon: Daemon) -> str:
    """File name of a daemon's unit."""
    return f"pileus-{daemon.name.removeprefix('pileus-')}.service"


def render_unit(daemon: Daemon, description: str, *, after: tuple[str, ...] = ()) -> str:
    """The unit file. `after` names units that must be started before.

    Raises ValueError for what systemd.syntax(7) cannot carry.
    """
    unit = [f"Description={_checked(description)}", "After=network.target " + " ".join(after)]
    service = [
        "Type=exec",
        f"ExecStart={' '.join(map(_word, daemon.argv))}",
        *([f"ExecReload={' '.join(map(_word, _reload_argv(daemon)))}"] if daemon.reload else []),
        "Restart=always",
        "RestartSec=1",
        f"KillMode={'process' if daemon.leaves_children else 'mixed'}",
        "TimeoutStopSec=30",
        "LimitNOFILE=65536",
        *([f"User={_checked(daemon.user)}"] if daemon.user else []),
        *([f"MemoryMax={daemon.memory_mib}M"] if daemon.memory_mib else []),
        *(f"Environment={_word(f'{name}={value}')}" for name, value in sorted(daemon.environment.items())),
    ]
    sections = (("Unit", unit), ("Service", service), ("Install", ["WantedBy=multi-user.target"]))
    return "\n".join(
        "\n".join((f"[{name}]", *(line.rstrip() for line in lines), "")) for name, lines in sections
    )


def _reload_argv(daemon: Daemon) -> tuple[str, ...]:
    return tuple("$MAINPID" if word == "{pid}" else word for word in daemon.reload)


def _word(word: str) -> str:
    """One word of a command line, quoted as systemd.service(5) wants it; `$MAINPID` stays a variable."""
    if word == "$MAINPID":
        return word
    escaped = _checked(word).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def _checked(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"{text!r} cannot stand in a unit file")
    return text
