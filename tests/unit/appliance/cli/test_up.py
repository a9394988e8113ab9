"""What `pileus up` makes of its options and of the settings of the last time."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from appliance.cli.main import main
from appliance.launcher import up
from appliance.launcher.settings import Settings, write_settings
from appliance.launcher.steps import StepFailed
from appliance.paths import Paths

pytestmark = pytest.mark.unit


def settings_of(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """What the steps would begin with."""
    begun: list[Settings] = []

    def bring_up(paths: Paths, settings: Settings, console: Any) -> None:
        begun.append(settings)
        raise StepFailed("far enough", "")

    monkeypatch.setattr(up, "bring_up", bring_up)
    answer = CliRunner().invoke(main, ["up", *arguments])
    assert "far enough" in answer.output, answer.output
    return begun[0]


def test_a_way_out_is_open_only_while_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PILEUS_HOME", str(tmp_path))
    first = settings_of(["--uplink", "eth0", "--api-port", "9000"], monkeypatch)
    assert (first.uplink, first.api_port) == ("eth0", 9000)
    write_settings(Paths(tmp_path), first)
    again = settings_of([], monkeypatch)
    assert (again.uplink, again.api_port, again.host) == ("", 9000, first.host)
    assert settings_of(["--uplink="], monkeypatch).uplink == ""
