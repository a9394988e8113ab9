"""Rendered files compared with golden ones; `PILEUS_WRITE_GOLDEN=1` writes them anew, for review."""

import os
from pathlib import Path

from systemvm.engine.service import File


def assert_golden(file: File, golden: Path) -> None:
    """Fail unless a rendered file is, byte for byte, the golden one."""
    if os.environ.get("PILEUS_WRITE_GOLDEN"):
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(file.text)
    assert golden.is_file(), f"{golden} is missing: write it with PILEUS_WRITE_GOLDEN=1 and read it"
    assert file.text == golden.read_text()
