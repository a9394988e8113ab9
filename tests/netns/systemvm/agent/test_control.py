"""The probe of the control channel, against a real NIC and a real listener."""

import time
from pathlib import Path

import pytest

from systemvm.agent.control import control_probe
from systemvm.engine.command import run
from systemvm.engine.processes import Processes
from systemvm.engine.service import Doors
from tests.netns.systemvm.agent.conftest import ADDRESS, Agent
from tests.netns.topology import eventually

pytestmark = pytest.mark.netns


def test_what_cuts_the_channel_is_named(agent: Agent) -> None:
    agent.start()
    doors = Doors(run=run, daemons=Processes(Path("/run/pileus/daemons")), now=time.time)
    probe = control_probe(agent.bootstrap, doors)

    def words() -> str:
        # /sys shows the namespace that mounted it: this thread's own.
        with agent.machine.entered():
            result = probe()
        return "" if result.healthy else result.message

    assert words() == ""
    agent.machine.run("ip", "addr", "del", f"{ADDRESS}/16", "dev", "link0")
    assert words() == f"link0 lost its address {ADDRESS}/16"
    agent.machine.run("ip", "addr", "add", f"{ADDRESS}/16", "dev", "link0")
    assert words() == ""
    agent.kill()
    assert f"does not answer on {ADDRESS}:8443" in words()
    agent.start()
    eventually(lambda: words() == "", "whole again")
    agent.machine.run("ip", "link", "set", "link0", "down")
    assert words() == "link0 is down or gone"
