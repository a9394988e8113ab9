"""The agent as mgmt meets it: real TLS, real certificates, real process."""

import contextlib
import socket
import ssl
import time

import httpx
import pytest

from systemvm.agent.server import THREADS
from systemvm.spec.bootstrap import CONTROL_LINK, MGMT_NAME
from tests.netns.systemvm.agent.conftest import ADDRESS, MACHINE, SERVER_NAME, Agent
from tests.netns.topology import eventually
from tests.pki import Authority, Pair

pytestmark = pytest.mark.netns

SNI = {"sni_hostname": SERVER_NAME}


def document(generation: int, **sections: object) -> dict[str, object]:
    return {"generation": generation, "machine": MACHINE, "role": "router", "hostname": "r-4-vm", **sections}


def test_who_may_talk(agent: Agent) -> None:
    agent.start()
    assert agent.get("/")["versions"] == ["v1"]
    info = agent.get("/v1/info")
    assert (info["machine"], info["role"], info["applied"]) == (MACHINE, "router", None)
    eventually(lambda: agent.request("GET", "/v1/health").status_code == 200, "healthy without a document")

    wrong_name = agent.clients.issue("someone.else.internal")
    wildcard = agent.clients.issue("*.pileus.internal")
    for pair in (wrong_name, wildcard):
        with agent.host.entered(), agent.client(pair) as client:
            refused = client.get("/v1/info", extensions=SNI)
        assert refused.status_code == 403
        assert refused.json()["code"] == "forbidden"
        assert MGMT_NAME in refused.json()["message"]

    strangers = {
        "no certificate": Pair("", ""),
        "another authority": Authority("clients").issue(MGMT_NAME),
        "the servers' authority": agent.servers.issue(MGMT_NAME),
        "expired": agent.clients.issue(MGMT_NAME, expired=True),
    }
    for who, pair in strangers.items():
        with agent.host.entered(), agent.client(pair) as client, pytest.raises(httpx.TransportError):
            pytest.fail(f"{who} got {client.get('/', extensions=SNI).text}")
    assert agent.get("/v1/info")["machine"] == MACHINE


def test_only_tls_1_3_and_only_on_the_linklocal_address(agent: Agent) -> None:
    agent.start()
    old = ssl.create_default_context(cafile=str(agent.server_ca))
    old.load_cert_chain(*agent.mgmt.write(agent.folder, "old"))
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    url = f"https://{ADDRESS}:8443/"
    with agent.host.entered(), httpx.Client(verify=old) as client, pytest.raises(httpx.TransportError):
        client.get(url, extensions=SNI)
    listening = agent.machine.run("ss", "-Htln").stdout
    assert [line.split()[3] for line in listening.splitlines()] == [f"{ADDRESS}:8443"]
    assert CONTROL_LINK in agent.machine.run("ip", "-br", "link").stdout


def test_silent_strangers_do_not_keep_mgmt_out(agent: Agent) -> None:
    """More of them than the agent has threads: some say nothing, some stop in the middle of a handshake."""
    agent.start()
    with agent.host.entered(), contextlib.ExitStack() as strangers:
        for number in range(2 * THREADS):
            stranger = strangers.enter_context(socket.create_connection((ADDRESS, 8443), timeout=5))
            if number % 2:
                stranger.sendall(b"\x16\x03\x01\x02\x00\x01")  # a ClientHello of 512 bytes begins
        started = time.monotonic()
        assert agent.get("/v1/info")["machine"] == MACHINE
        assert time.monotonic() - started < 30


def test_ten_mistakes_get_ten_messages(agent: Agent) -> None:
    agent.start()
    nic = {"mac": "zz", "name": "E", "purpose": "fun", "addresses": ["x"], "mtu": 1}
    response = agent.put(
        document(0, hostname="-", role="cook", zork=1, interfaces={"nics": [nic], "forwarding": 2})
    )
    assert response.status_code == 422
    error = response.json()
    assert error["code"] == "invalid_document"
    assert {problem["path"] for problem in error["problems"]} == {
        "generation",
        "hostname",
        "role",
        "zork",
        "interfaces.nics[0].mac",
        "interfaces.nics[0].name",
        "interfaces.nics[0].purpose",
        "interfaces.nics[0].addresses[0]",
        "interfaces.nics[0].mtu",
        "interfaces.forwarding",
    }


def test_requests_that_are_none(agent: Agent) -> None:
    agent.start()
    too_large = agent.put(b" " * (33 * 1024**2))
    assert (too_large.status_code, too_large.json()["code"]) == (413, "request_entity_too_large")
    nothing = agent.put(b"")
    assert (nothing.status_code, nothing.json()["code"]) == (422, "invalid_document")
    wrong = agent.request("DELETE", "/v1/state")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method_not_allowed")
    unknown = agent.request("GET", "/v2/state")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    empty = agent.request("GET", "/v1/state")
    assert (empty.status_code, empty.json()["message"]) == (404, "no document is applied yet")


def test_generations_over_the_wire(agent: Agent) -> None:
    agent.start()
    eventually(lambda: agent.request("GET", "/v1/health").status_code == 200, "recovered")
    first = agent.put(document(3))
    assert first.status_code == 200, first.text
    assert first.json()["generation"] == 3
    assert agent.put(document(4)).json()["result"] == "unchanged"
    stale = agent.put(document(2))
    assert (stale.status_code, stale.json()["code"]) == (409, "stale_generation")
    assert agent.get("/v1/state")["generation"] == 4
    assert agent.get("/v1/state?generation=3")["progress"] == "applied"
    assert agent.request("GET", "/v1/state?generation=99").status_code == 404
    assert agent.request("GET", "/v1/state?colour=red").status_code == 422


def test_telemetry(agent: Agent) -> None:
    agent.start()
    eventually(lambda: agent.request("GET", "/v1/health").status_code == 200, "recovered")
    metrics = agent.request("GET", "/v1/metrics")
    assert "pileus_generation 0.0" in metrics.text
    assert 'pileus_link_received_bytes_total{link="link0"}' in metrics.text
    usage = agent.get("/v1/usage")
    assert usage["links"][0]["name"] == CONTROL_LINK
    assert usage["links"][0]["received_bytes"] > 0
    assert agent.get("/v1/logs?lines=5")["daemon"] == "agent"
    assert agent.request("GET", "/v1/logs?lines=0").status_code == 422
    assert agent.request("GET", "/v1/logs?daemon=../../etc/shadow").status_code == 404
    probes = agent.get("/v1/probes")["probes"]
    assert [(probe["name"], probe["healthy"]) for probe in probes] == [("control", True)]


def test_diagnostics(agent: Agent) -> None:
    agent.start()

    def diagnose(**wanted: object) -> httpx.Response:
        return agent.request("POST", "/v1/diagnostics", json=wanted)

    ping = diagnose(tool="ping", address="169.254.0.1", count=1)
    assert (ping.status_code, ping.json()["success"]) == (200, True)
    assert "1 received" in ping.json()["output"]
    arping = diagnose(tool="arping", address="169.254.0.1", interface=CONTROL_LINK, count=1)
    assert arping.json()["success"] is True
    silent = diagnose(tool="arping", address="169.254.9.9", interface=CONTROL_LINK, count=1)
    assert (silent.status_code, silent.json()["success"]) == (200, False)
    agent.host.start("ping", "-n", "-i", "0.2", ADDRESS)
    seen = diagnose(tool="capture", interface=CONTROL_LINK, address=ADDRESS, count=1)
    assert (seen.json()["success"], ADDRESS in seen.json()["output"]) == (True, True), seen.text
    nothing = diagnose(tool="capture", interface=CONTROL_LINK, address="192.0.2.77", seconds=1)
    assert (nothing.json()["success"], "0 packets captured" in nothing.json()["output"]) == (False, True)
    hops = diagnose(tool="traceroute", address="169.254.0.1", hops=1)
    assert hops.json()["success"] is True, hops.text
    bad = diagnose(tool="ping", address="169.254.0.1; reboot", count=99, flood=True)
    assert bad.status_code == 422
    assert {problem["path"] for problem in bad.json()["problems"]} == {"address", "count", "flood"}
    assert diagnose(tool="shell", address="1.1.1.1").status_code == 422


def test_role_reads(agent: Agent) -> None:
    agent.start()
    other = agent.request("GET", "/v1/console/sessions")
    assert (other.status_code, other.json()["code"]) == (404, "not_found")
    assert "this machine is a router" in other.json()["message"]
    assert "no service of the applied document" in agent.request("GET", "/v1/router/leases").json()["message"]
