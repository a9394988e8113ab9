"""Unit files of the daemons."""

from pathlib import Path

import pytest

from appliance.launcher.libvirt import libvirt_daemon
from appliance.launcher.units import render_unit, unit_name
from appliance.paths import Paths
from systemvm.engine.daemons import Daemon

pytestmark = pytest.mark.unit


def test_libvirtd_leaves_vms_alone() -> None:
    daemon = libvirt_daemon(Paths(Path("/var/lib/pileus")))
    text = render_unit(daemon, "Pileus libvirt")
    assert unit_name(daemon) == "pileus-libvirtd.service"
    assert "KillMode=process\n" in text
    assert 'ExecStart="unshare" "--mount"' in text


def test_words_are_quoted() -> None:
    daemon = Daemon(
        name="pileus-x",
        argv=("x", 'a "b"', "50%", "$HOME"),
        reload=("kill", "-HUP", "{pid}"),
        user="pileus",
        environment={"A": "b c"},
        memory_mib=64,
    )
    text = render_unit(daemon, "X", after=("pileus-libvirtd.service",))
    assert unit_name(daemon) == "pileus-x.service"
    assert r'ExecStart="x" "a \"b\"" "50%%" "$$HOME"' in text
    assert 'ExecReload="kill" "-HUP" $MAINPID' in text
    assert 'Environment="A=b c"' in text
    assert "User=pileus\n" in text
    assert "MemoryMax=64M\n" in text
    assert "After=network.target pileus-libvirtd.service\n" in text
    assert "KillMode=mixed\n" in text


def test_line_breaks_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot stand"):
        render_unit(Daemon(name="x", argv=("x", "a\nUser=root")), "X")
