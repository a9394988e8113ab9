"""What the trial of KVM concludes from what QEMU said."""

from pathlib import Path

import pytest

from appliance.paths import Paths
from appliance.preflight.acceleration import TOKEN, probe_acceleration
from systemvm.engine.command import Result
from systemvm.engine.errors import CommandError
from systemvm.engine.testing import Answer, RecordedRunner

pytestmark = pytest.mark.unit
QEMU = ("qemu-system-x86_64",)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    made = Paths(tmp_path / "home", tmp_path / "cache")
    kernel = made.images / "systemvm/current/vmlinuz"
    kernel.parent.mkdir(parents=True)
    kernel.write_bytes(b"kernel")
    return made


def trial(answer: Answer) -> RecordedRunner:
    return RecordedRunner({QEMU: answer})


def test_a_kernel_that_starts_its_first_program_decides(paths: Paths, tmp_path: Path) -> None:
    run = trial(Result(f"...{TOKEN}\n", ""))
    assert probe_acceleration(paths, tmp_path, run).kind == "kvm"
    argv = next(call for call in run.calls if call[:1] == QEMU)
    assert argv[argv.index("-accel") + 1] == "kvm"
    assert str(paths.images / "systemvm/current/vmlinuz") in argv


def test_a_kernel_that_hangs_or_dies_means_tcg(paths: Paths, tmp_path: Path) -> None:
    hung = probe_acceleration(paths, tmp_path, trial(CommandError(QEMU, None, "SeaBIOS", "")))
    assert hung.kind == "qemu"
    assert "nothing started within 15 s" in hung.reason


def test_a_token_before_the_deadline_counts_though_qemu_hangs_later(paths: Paths, tmp_path: Path) -> None:
    assert probe_acceleration(paths, tmp_path, trial(CommandError(QEMU, None, TOKEN, ""))).kind == "kvm"


def test_it_is_tried_once_per_kernel(paths: Paths, tmp_path: Path) -> None:
    assert probe_acceleration(paths, tmp_path, trial(Result(TOKEN, ""))).kind == "kvm"
    again = trial(Result("", ""))
    assert probe_acceleration(paths, tmp_path, again).kind == "kvm"
    assert again.calls == []
    (paths.images / "systemvm/current/vmlinuz").write_bytes(b"another kernel")
    assert probe_acceleration(paths, tmp_path, again).kind == "qemu"


def test_without_a_device_nothing_is_tried(paths: Paths, tmp_path: Path) -> None:
    run = trial(Result(TOKEN, ""))
    found = probe_acceleration(paths, tmp_path / "no-such-device", run)
    assert found.kind == "qemu"
    assert run.calls == []
