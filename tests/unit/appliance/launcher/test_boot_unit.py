"""The boot unit: what is written, when systemd is told, and that a way out is part of it."""

from pathlib import Path

import pytest

from appliance.launcher import down, up
from appliance.launcher.boot_unit import UNIT, BootUnit, render_unit
from appliance.launcher.settings import Settings
from appliance.paths import Paths
from systemvm.engine.errors import CommandError
from systemvm.engine.testing import RecordedRunner

pytestmark = pytest.mark.unit

ENABLE, DISABLE = ("systemctl", "enable", UNIT), ("systemctl", "disable", "--now", UNIT)
RELOAD = ("systemctl", "daemon-reload")


def test_words_are_quoted() -> None:
    text = render_unit(("/x", 'a "b"', "50%", "$HOME"), {"A": "b $c%"}, (Path("/my cloud"),))
    assert r'ExecStart="/x" "a \"b\"" "50%%" "$$HOME"' in text
    assert 'Environment="A=b $c%%"' in text
    assert 'RequiresMountsFor="/my cloud"' in text


@pytest.mark.parametrize("word", ["a\nUser=nobody", "a\0"])
def test_what_would_end_a_line_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="cannot stand"):
        render_unit(("/x", word), {}, ())


@pytest.mark.parametrize(("uplink", "ending"), [("", '"up"\n'), ("eth0", '"up" "--uplink=eth0"\n')])
def test_boot_repeats_what_was_asked_for(uplink: str, ending: str) -> None:
    text = up.boot_unit_text(Paths(Path("/srv/cloud")), Settings(uplink=uplink))
    (start,) = [line for line in text.splitlines(keepends=True) if line.startswith("ExecStart=")]
    assert start.endswith(ending)
    assert 'Environment="PILEUS_HOME=/srv/cloud"\n' in text


def test_a_unit_from_its_first_day_to_its_last(tmp_path: Path) -> None:
    runner = RecordedRunner()
    unit = BootUnit(runner, tmp_path)

    def told() -> list[tuple[str, ...]]:
        calls, runner.calls = runner.calls, []
        return calls

    assert (unit.disable(), unit.remove(), told()) == (False, False, [])
    unit.enable("one")
    assert told() == [RELOAD, ENABLE]
    unit.enable("one")
    assert told() == [ENABLE], "what did not change is not read again"
    unit.enable("two")
    assert (told(), unit.file.read_text()) == ([RELOAD, ENABLE], "two")
    assert (unit.disable(), told()) == (True, [DISABLE])
    assert unit.file.exists(), "only `pileus clean` removes it"
    assert (unit.remove(), told()) == (True, [DISABLE, RELOAD])
    assert list(tmp_path.iterdir()) == []


def test_what_systemd_refuses_is_said(tmp_path: Path) -> None:
    refusal = CommandError(ENABLE, 1, "", "Unit is masked.")
    with pytest.raises(CommandError, match="masked"):
        BootUnit(RecordedRunner({ENABLE: refusal}), tmp_path).enable("x")


@pytest.mark.parametrize("by_systemd", [True, False])
def test_up_enables_it_down_disables_it_and_clean_removes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_systemd: bool
) -> None:
    paths, unit = Paths(tmp_path), BootUnit(RecordedRunner(), tmp_path)
    for module in up, down:
        monkeypatch.setattr(module, "uses_systemd", lambda: by_systemd)
        monkeypatch.setattr(module, "BootUnit", lambda: unit)
    paths.create()
    words = up.start_at_boot(paths, Settings(uplink="eth0"))
    assert words.startswith(f"{UNIT} is enabled" if by_systemd else "this machine has no systemd")
    assert unit.file.exists() == by_systemd
    assert not by_systemd or "--uplink=eth0" in unit.file.read_text()
    first, *_ = down.down_steps(paths)
    assert first.run(lambda words: None).startswith("the cloud stays down" if by_systemd else "no unit")
    assert unit.file.exists() == by_systemd
    (step,) = [step for step in down.clean_steps(paths, keep_images=True) if step.name == "Boot unit"]
    assert step.run(lambda words: None) == (f"{unit.file} removed" if by_systemd else "there is none")
    assert not unit.file.exists()
