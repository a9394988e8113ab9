"""systemd's own checker reads our unit files."""

from pathlib import Path

import pytest

from appliance.launcher.libvirt import libvirt_daemon
from appliance.launcher.units import render_unit, unit_name
from appliance.paths import Paths
from systemvm.engine.command import run
from systemvm.engine.daemons import Daemon
from systemvm.engine.errors import CommandError

pytestmark = pytest.mark.netns


def verify(folder: Path, daemon: Daemon) -> str:
    """What systemd-analyze complains about."""
    file = folder / unit_name(daemon)
    file.write_text(render_unit(daemon, "Pileus libvirt"))
    done = run(("systemd-analyze", "verify", "--man=no", str(file)))
    return "\n".join(line for line in done.stderr.splitlines() if file.name in line)


def test_units_are_valid(tmp_path: Path) -> None:
    assert verify(tmp_path, libvirt_daemon(Paths(Path("/var/lib/pileus")))) == ""
    daemon = Daemon(
        name="relay", argv=("sleep", '5 "%$'), reload=("kill", "-HUP", "{pid}"), user="daemon", memory_mib=64
    )
    assert verify(tmp_path, daemon) == ""


def test_the_checker_does_complain(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="nonsense"):
        verify(tmp_path, Daemon(name="broken", argv=("/nonexistent/nonsense",)))
