"""systemd's own checker reads the boot unit."""

import sys
from pathlib import Path

import pytest

from appliance.launcher.boot_unit import UNIT, render_unit
from appliance.launcher.settings import Settings
from appliance.launcher.up import boot_unit_text
from appliance.paths import Paths
from systemvm.engine.command import run
from systemvm.engine.errors import CommandError

pytestmark = pytest.mark.netns


def verify(folder: Path, text: str) -> str:
    """What systemd-analyze complains about."""
    file = folder / UNIT
    file.write_text(text)
    done = run(("systemd-analyze", "verify", "--man=no", str(file)))
    return "\n".join(line for line in done.stderr.splitlines() if file.name in line)


def test_the_unit_is_valid(tmp_path: Path) -> None:
    assert verify(tmp_path, boot_unit_text(Paths(tmp_path / "my $ 5% cloud"), Settings(uplink="eth0"))) == ""
    odd = (sys.executable, '5 "%$', "a\\b")
    assert verify(tmp_path, render_unit(odd, {"A": 'b "$%'}, (tmp_path / 'a "b"',))) == ""


def test_the_checker_does_complain(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="nonsense"):
        verify(tmp_path, render_unit(("/nonexistent/nonsense",), {}, (tmp_path,)))
