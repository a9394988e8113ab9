"""The test bench itself: isolated, wired, and gone afterwards."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.netns.topology import Topology

pytestmark = pytest.mark.netns


def test_machines_reach_each_other_and_vanish() -> None:
    with Topology() as lab:
        switch = lab.switch("lan")
        a, b = lab.machine("a"), lab.machine("b")
        lab.plug(a, "eth0", switch, mac="02:00:00:00:00:0a")
        lab.plug(b, "eth0", switch)
        a.run("ip", "addr", "add", "192.0.2.1/24", "dev", "eth0")
        b.run("ip", "addr", "add", "192.0.2.2/24", "dev", "eth0")
        assert "02:00:00:00:00:0a" in a.run("ip", "link", "show", "eth0").stdout
        assert a.answers("ping", "-c1", "-W2", "192.0.2.2") or a.answers("arping", "-c2", "-w3", "192.0.2.2")
        assert not a.answers("arping", "-c1", "-w1", "-I", "eth0", "192.0.2.9")
        names = [a.name, b.name, switch.name]
        left_over = b.start("sleep", "60")
    left_over.communicate()
    assert left_over.returncode == -9
    listed = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    assert not [name for name in names if name in listed]


def test_entered_thread_is_inside_and_comes_back() -> None:
    before, folder = os.readlink("/proc/thread-self/ns/net"), os.getcwd()
    mine = Path("/etc/pileus/only-inside")
    with Topology() as lab:
        machine = lab.machine("in")
        with machine.entered():
            assert os.readlink("/proc/thread-self/ns/net") != before
            mine.write_text("x")
            links = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout
            assert links.split()[0] == "lo"
            assert len(links.splitlines()) == 1
        assert os.readlink("/proc/thread-self/ns/net") == before
        assert not mine.exists()
        assert machine.run("cat", str(mine)).stdout == "x"
    assert os.getcwd() == folder
