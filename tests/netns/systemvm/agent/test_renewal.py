"""The agent's certificate is renewed under a running connection; what is wrong is refused in words."""

import os
import signal
from typing import Any

import httpx
import pytest

from systemvm.engine.certificates import serial
from systemvm.spec import codec
from systemvm.spec.certificate import SignedCertificate
from tests.netns.systemvm.agent.conftest import SERVER_NAME, Agent
from tests.netns.systemvm.agent.processes import worker_of
from tests.netns.topology import eventually
from tests.pki import Authority

pytestmark = pytest.mark.netns
SNI = {"sni_hostname": SERVER_NAME}
KEPT = "/var/lib/pileus/certificate.pem"


class Connection:
    """One keep-alive connection of mgmt to the agent; use it inside `host.entered()`."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self.local: set[Any] = set()

    def ask(self) -> str:
        """Serial of the certificate that answers."""
        with self._client.stream("GET", "/v1/info", extensions=SNI) as answer:
            stream = answer.extensions["network_stream"]
            assert answer.status_code == 200
            answer.read()
            self.local.add(stream.get_extra_info("client_addr"))
            return str(stream.get_extra_info("ssl_object").getpeercert()["serialNumber"])


def shown(agent: Agent) -> str:
    """Serial that a new connection is shown."""
    with agent.host.entered(), agent.client() as client:
        return Connection(client).ask()


def ask_for_one(agent: Agent) -> str:
    answer = agent.request("POST", "/v1/certificate/request")
    assert answer.status_code == 200, answer.text
    assert "PRIVATE" not in answer.text
    return str(answer.json()["csr"])


def put(agent: Agent, certificate: str, authority: Authority) -> httpx.Response:
    signed = SignedCertificate(certificate=certificate, authority=authority.pem)
    return agent.request("PUT", "/v1/certificate", content=codec.encode(signed))


def renew(agent: Agent) -> str:
    """Serial of the certificate that was taken."""
    taken = put(agent, agent.servers.sign(ask_for_one(agent), SERVER_NAME), agent.servers)
    assert taken.status_code == 200, taken.text
    return str(taken.json()["serial"])


def test_renewed_without_a_cut_and_still_there_after_restart_and_reboot(agent: Agent) -> None:
    agent.start()
    first = serial(agent.bootstrap.certificate)
    with agent.host.entered(), agent.client() as client:
        running = Connection(client)
        assert running.ask() == first
        second = renew(agent)
        assert running.ask() == first
        assert len(running.local) == 1
    assert second != first
    assert shown(agent) == second
    assert agent.machine.run("stat", "-c", "%a", KEPT).stdout.strip() == "600"

    _end_the_worker(agent)
    eventually(lambda: agent.is_healthy(), "a new worker answers", 30)
    assert shown(agent) == second
    third = renew(agent)
    agent.kill()
    agent.machine.run("umount", "/run/pileus")
    agent.machine.run("mount", "-t", "tmpfs", "-o", "mode=0755", "pileus-test", "/run/pileus")
    agent.start()
    assert shown(agent) == third


def test_a_newer_config_disk_wins(agent: Agent) -> None:
    agent.start()
    renew(agent)
    agent.kill()
    own = agent.servers.issue(SERVER_NAME, age=1)
    agent.bring(own)
    agent.start()
    assert shown(agent) == serial(own.certificate)


def test_what_is_wrong_is_refused_with_words_and_the_old_one_stays(agent: Agent) -> None:
    agent.start()
    first = serial(agent.bootstrap.certificate)
    early = put(agent, agent.bootstrap.certificate, agent.servers)
    assert (early.status_code, early.json()["code"]) == (409, "no_request")
    csr, stranger = ask_for_one(agent), Authority("servers")
    refused = {
        "it did not sign the certificate in use": (stranger.sign(csr, SERVER_NAME), stranger),
        "the authority did not sign it": (stranger.sign(csr, SERVER_NAME), agent.servers),
        f"its names are other.internal; they must stay {SERVER_NAME}": (
            agent.servers.sign(csr, "other.internal"),
            agent.servers,
        ),
        "it is for another key": (agent.servers.issue(SERVER_NAME).certificate, agent.servers),
        "and now is not between": (agent.servers.sign(csr, SERVER_NAME, expired=True), agent.servers),
        "it is no certificate in PEM": ("hello", agent.servers),
    }
    for words, (certificate, authority) in refused.items():
        answer = put(agent, certificate, authority)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_document")
        (problem,) = answer.json()["problems"]
        assert words in problem["message"]
    assert shown(agent) == first
    assert not agent.machine.answers("test", "-e", KEPT)
    # After all that the request is still open.
    assert put(agent, agent.servers.sign(csr, SERVER_NAME), agent.servers).status_code == 200
    assert shown(agent) != first


def test_one_that_the_machine_lost_costs_no_start(agent: Agent) -> None:
    agent.start()
    renew(agent)
    agent.kill()
    agent.machine.run("truncate", "-s", "700", KEPT)
    agent.start()
    assert shown(agent) == serial(agent.bootstrap.certificate)
    assert renew(agent) == shown(agent) != serial(agent.bootstrap.certificate)


def _end_the_worker(agent: Agent) -> None:
    """kill -9; gunicorn's master starts another, which knows nothing of the renewal but the file."""
    worker = worker_of(agent.machine)
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: worker not in agent.machine.pids(), "the worker ends")
