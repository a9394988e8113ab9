"""Systemd's implementation of `Daemons`, in the image, where it is init: the same contract as the others."""

import json
import subprocess
from pathlib import Path

import pytest

from images.builder import build
from images.builder.boot import Machine, running
from images.builder.progress import Quiet
from systemvm.engine.command import run
from tests.contract import daemons_contract
from tests.contract.daemons_contract import PROMISES, VERDICT

pytestmark = pytest.mark.image

SECONDS = 400.0
UNIT = """
[Unit]
After=basic.target
[Service]
Type=oneshot
ExecStart=/usr/bin/python3 /opt/pileus/contract.py
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
"""


def add_contract(disk: Path, folder: Path) -> None:
    """Put the contract into the disk's root file system, to be run at power-on."""
    table = json.loads(run(("sfdisk", "--json", str(disk))).stdout)["partitiontable"]
    root = max(table["partitions"], key=lambda partition: int(partition["size"]))
    unit = folder / "contract.service"
    unit.write_text(UNIT)
    script = folder / "script"
    script.write_text(
        "cd /opt/pileus\n"
        f"write {daemons_contract.__file__} contract.py\n"
        "cd /etc/systemd/system\n"
        f"write {unit} contract.service\n"
        "cd multi-user.target.wants\n"
        "symlink contract.service ../contract.service\n"
    )
    run(("debugfs", "-w", "-f", str(script), f"{disk}?offset={int(root['start']) * table['sectorsize']}"))


def test_systemd_keeps_the_contract(tmp_path: Path) -> None:
    image = build("systemvm", Quiet())
    disk = tmp_path / "disk.raw"
    subprocess.run(("cp", "--sparse=always", str(image.raw), str(disk)), check=True)
    add_contract(disk, tmp_path)
    cmdline = (image.folder / "cmdline").read_text().strip()
    machine = Machine(disk=disk, kernel=image.kernel, initrd=image.initrd, cmdline=cmdline)
    with running(machine) as booted:
        booted.wait_serial(VERDICT, SECONDS)
        printed = booted.console()
    assert "BROKEN" not in printed, printed[-5000:]
    assert [promise.__name__ for promise in PROMISES if f"ok {promise.__name__}" not in printed] == []
