"""What a record of a process is worth."""

import json
from pathlib import Path

import pytest

from systemvm.engine.processes import Processes

pytestmark = pytest.mark.unit

#: Beyond the highest process id that Linux gives (PID_MAX_LIMIT is 2**22).
NOBODY = 2**22 + 1


@pytest.mark.parametrize("started", [None, 12345])
def test_a_process_that_is_gone_does_not_run_and_stops_at_once(tmp_path: Path, started: int | None) -> None:
    """`started` is null when a daemon died before it could be recorded."""
    record = {"pid": NOBODY, "started": started, "daemon": {}}
    (tmp_path / "x.json").write_text(json.dumps(record))
    processes = Processes(tmp_path)
    assert not processes.is_running("x")
    processes.stop("x")
    assert not (tmp_path / "x.json").exists()
