"""kill -9, a reboot without mgmt, full disks: the last good generation holds or comes back."""

import os
import signal
import threading
from typing import Any

import httpx
import pytest

from tests.netns.systemvm.agent.conftest import MACHINE, Agent
from tests.netns.topology import Topology, eventually

pytestmark = pytest.mark.netns

PUBLIC_MAC = "1e:00:00:00:00:01"
FIRST, SECOND = "192.0.2.10", "192.0.2.11"
ID = "00000000-0000-4000-8000-0000000000"


def document(generation: int, *addresses: str, port: int = 80) -> dict[str, Any]:
    """A machine with these public addresses and a balancer on each."""
    nic = {
        "mac": PUBLIC_MAC,
        "name": "eth1",
        "purpose": "public",
        "addresses": [f"{a}/24" for a in addresses],
    }
    balancers = [
        {
            "id": f"{ID}1{index}",
            "address": address,
            "port": port,
            "members": [{"id": f"{ID}2{index}", "address": "192.0.2.99", "port": 80}],
        }
        for index, address in enumerate(addresses)
    ]
    return {
        "generation": generation,
        "machine": MACHINE,
        "role": "router",
        "hostname": "r-4-vm",
        "interfaces": {"nics": [nic]},
        "nftables": {},
        "haproxy": {"balancers": balancers},
    }


@pytest.fixture
def router(agent: Agent, lab: Topology) -> Agent:
    """Generation 1 is applied and works."""
    internet = lab.machine("inet")
    lab.wire(agent.machine, "ens4", internet, "eth0", mac_a=PUBLIC_MAC)
    internet.run("ip", "addr", "add", "192.0.2.1/24", "dev", "eth0")
    agent.start()
    eventually(agent.is_healthy, "the agent has recovered nothing")
    applied = agent.put(document(1, FIRST))
    assert applied.status_code == 200, applied.text
    return agent


def serves(agent: Agent) -> list[str]:
    """Where the balancer listens."""
    lines = agent.machine.run("ss", "-Htln").stdout.splitlines()
    return sorted(line.split()[3] for line in lines if not line.split()[3].endswith(":8443"))


def addresses(agent: Agent) -> str:
    return agent.machine.run("ip", "-o", "-4", "addr", "show", "dev", "eth1").stdout


def progress(agent: Agent) -> dict[int, str]:
    return {kept["generation"]: kept["progress"] for kept in agent.get("/v1/info")["generations"]}


def haproxy_pid(agent: Agent) -> int:
    pids = agent.machine.run("pgrep", "-f", "haproxy -W", check=False).stdout.split()
    ours = set(agent.machine.pids())
    return min(int(pid) for pid in pids if int(pid) in ours)


def test_killed_in_the_middle_of_an_apply(router: Agent) -> None:
    master = haproxy_pid(router)
    os.kill(master, signal.SIGSTOP)  # so that haproxy, the last in order, takes its time

    def put() -> None:
        with pytest.raises(httpx.TransportError):
            router.put(document(2, FIRST, SECOND))

    thread = threading.Thread(target=put)
    thread.start()
    eventually(lambda: SECOND in addresses(router), "the new address is there: the apply is in its middle")
    eventually(
        lambda: SECOND in router.machine.run("cat", "/etc/pileus/haproxy/haproxy.cfg").stdout, "swapped"
    )
    router.kill()
    thread.join()
    os.kill(master, signal.SIGCONT)

    router.start()
    eventually(router.is_healthy, "recovered", 30)
    assert router.get("/v1/info")["applied"] == 1
    assert SECOND not in addresses(router)
    assert SECOND not in router.machine.run("cat", "/etc/pileus/haproxy/haproxy.cfg").stdout
    eventually(lambda: serves(router) == [f"{FIRST}:80"], "haproxy serves generation 1")
    assert progress(router) == {1: "applied", 2: "failed"}
    assert router.put(document(2, FIRST, SECOND)).status_code == 200
    assert serves(router) == [f"{FIRST}:80", f"{SECOND}:80"]


def test_after_a_reboot_with_mgmt_away(router: Agent) -> None:
    router.kill()
    for pid in set(router.machine.pids()) - {router.machine.pid}:
        os.kill(pid, signal.SIGKILL)
    router.machine.run("nft", "flush", "ruleset")
    router.machine.run("ip", "addr", "flush", "dev", "eth1")
    router.machine.run("ip", "addr", "flush", "dev", "link0")
    router.machine.run("umount", "/run/pileus")
    router.machine.run("mount", "-t", "tmpfs", "-o", "mode=0755", "pileus-test", "/run/pileus")
    assert serves(router) == []
    router.host.run("ip", "link", "set", "cloud0", "down")

    router.start_alone()
    eventually(lambda: serves(router) == [f"{FIRST}:80"], "it serves again, by itself", 30)
    assert FIRST in addresses(router)
    assert "chain" in router.machine.run("nft", "list", "ruleset").stdout

    router.host.run("ip", "link", "set", "cloud0", "up")
    eventually(router.is_healthy, "mgmt finds it healthy", 30)
    assert router.get("/v1/info")["applied"] == 1
    assert router.put(document(1, FIRST)).json()["result"] == "unchanged"


@pytest.mark.parametrize(
    ("folder", "words"), [("/etc/pileus", "No space left"), ("/var/lib/pileus", "record of generations")]
)
def test_full_disk(router: Agent, folder: str, words: str) -> None:
    before = router.machine.run("cat", "/etc/pileus/haproxy/haproxy.cfg").stdout
    ruleset = router.machine.run("nft", "-s", "list", "ruleset").stdout
    router.machine.run("mount", "-o", "remount,size=400k", folder)
    fill = f"{folder}/fill"
    router.machine.run("dd", "if=/dev/zero", f"of={fill}", "bs=4k", check=False)

    refused = router.put(document(2, FIRST, SECOND))
    error = refused.json()
    assert (refused.status_code, error["code"]) == (500, "apply_failed")
    assert words in error["message"]
    assert error["message"].endswith("generation 1 is back")
    assert router.machine.run("cat", "/etc/pileus/haproxy/haproxy.cfg").stdout == before
    assert router.machine.run("nft", "-s", "list", "ruleset").stdout == ruleset
    assert SECOND not in addresses(router)
    assert serves(router) == [f"{FIRST}:80"]
    left = router.machine.run("find", "/etc/pileus", "-name", ".*").stdout
    assert left == ""

    router.machine.run("rm", fill)
    assert router.put(document(2, FIRST, SECOND)).status_code == 200
    assert serves(router) == [f"{FIRST}:80", f"{SECOND}:80"]


def test_a_refusal_over_the_wire_changes_nothing(router: Agent) -> None:
    """haproxy cannot bind a port that another program holds: its words come back, the old one serves."""
    squat = "import socket, time; s = socket.create_server(('192.0.2.10', 81)); print('up', flush=True)"
    holder = router.machine.start("python3", "-c", f"{squat}; time.sleep(99)")
    assert holder.stdout is not None
    assert holder.stdout.readline() == "up\n"
    refused = router.put(document(2, FIRST, port=81))
    assert refused.status_code == 500
    assert [problem["path"] for problem in refused.json()["problems"]] == ["haproxy"]
    assert "generation 1 is back" in refused.json()["message"]
    eventually(router.is_healthy, "generation 1 works", 15)
    assert f"{FIRST}:80" in serves(router)
    assert progress(router) == {1: "applied", 2: "failed"}
