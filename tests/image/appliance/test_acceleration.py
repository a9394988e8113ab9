"""The trial of an accelerator, with a real kernel and real QEMU."""

import time
from pathlib import Path

import pytest

from appliance.paths import Paths
from appliance.preflight import acceleration
from appliance.preflight.acceleration import boots_under, probe_acceleration

pytestmark = pytest.mark.image


def test_the_trial_itself_works_under_tcg(probe_cache: Path) -> None:
    found = boots_under("tcg", probe_cache / "images/probe/current/vmlinuz")
    assert found.reason == "a test kernel boots under tcg"


def test_what_is_no_kernel_does_not_boot(tmp_path: Path) -> None:
    broken = tmp_path / "vmlinuz"
    broken.write_bytes(b"\0" * 65536)
    assert "does not boot" in boots_under("tcg", broken).reason


def test_a_kernel_that_hangs_is_given_up(probe_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceleration, "DEADLINE", 2.0)
    monkeypatch.setattr(acceleration, "_INIT", "#!/bin/busybox sh\n/bin/busybox sleep 1000\n")
    start = time.monotonic()
    found = boots_under("tcg", probe_cache / "images/probe/current/vmlinuz")
    assert "nothing started within 2 s" in found.reason
    assert time.monotonic() - start < 10


def test_this_machine_gets_an_answer_in_time_and_remembers_it(probe_cache: Path, tmp_path: Path) -> None:
    paths = Paths(tmp_path, probe_cache)
    start = time.monotonic()
    found = probe_acceleration(paths)
    assert time.monotonic() - start < acceleration.DEADLINE + 5
    assert found.kind in ("kvm", "qemu")
    start = time.monotonic()
    assert probe_acceleration(paths) == found
    assert time.monotonic() - start < 1
