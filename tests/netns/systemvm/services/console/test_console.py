"""A browser's namespace, the console proxy's and a host's; on the host a real QEMU screen over VNC."""

import socket
import ssl
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from systemvm.services.console import SERVICE
from systemvm.services.console.reads import READS
from systemvm.spec.ticket import TicketPurpose
from tests.netns.putting import install
from tests.netns.systemvm.services.console.console_bench import (
    ADDRESS,
    HOST,
    HOST_ADDRESS,
    HOST_NAME,
    PORT,
    RELAY_PORT,
    STOPPED_VM,
    VM,
    Bench,
    off,
    read_exactly,
    shake_hands,
    state_of,
    wire,
    with_console,
)
from tests.netns.topology import Topology, eventually
from tests.pki import Authority
from tests.tickets import Signer
from tests.vnc import Relay, firmware_screen, relay_context

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("c")
    servers, clients, signer = Authority("servers"), Authority("clients"), Signer()
    with Topology() as topology, firmware_screen(folder) as screen:
        browser, console, host = wire(topology)
        with host.entered():
            listener = socket.create_server((HOST_ADDRESS, RELAY_PORT))
        context = relay_context(*servers.issue(HOST_NAME).write(folder, "relay"), clients.pem)
        relay = Relay(listener, context, signer.public, {VM: screen})
        state = state_of(servers, clients, signer)
        installed = install(SERVICE, console)
        installed.put(state)
        made = Bench(browser, installed, signer, state, servers)
        eventually(lambda: not installed.unhealthy(state), "the proxy serves", 15)
        yield made
        installed.put(off(state))
        relay.close()


def test_a_ticket_opens_the_screen_of_its_vm_once(bench: Bench) -> None:
    token = bench.token()
    with bench.connected(token) as opened:
        width, height = shake_hands(opened)
        assert (width, height) in {(640, 480), (720, 400), (640, 400), (1024, 768), (1280, 800)}
        # The whole screen, raw: many times what one TLS record or one websocket frame holds.
        opened.send_binary(struct.pack(">BBHI", 2, 0, 1, 0))
        opened.send_binary(struct.pack(">BBHHHH", 3, 0, 0, 0, width, height))
        read_exactly(opened, 4 * width * height)
        eventually(lambda: sessions(bench), "the session is listed", 5)
        (session,) = sessions(bench)
        assert session["vm"] == VM
        assert session["client"] == "198.51.100.9"
        assert token.split(".")[1] not in str(session)
        code, reason = bench.refusal(token)
        assert (code, "used before" in reason) == (4403, True)
    eventually(lambda: not sessions(bench), "the session is gone", 5)


def sessions(bench: Bench) -> list[dict[str, object]]:
    with bench.console.machine.entered():
        listed: list[dict[str, object]] = READS["sessions"](bench.console.doors)
    return listed


def test_bad_tickets_are_refused_in_words(bench: Bench) -> None:
    stranger = Signer().token(TicketPurpose.console, VM, host=HOST)
    template = bench.signer.token(TicketPurpose.template, VM, host=HOST)
    assert bench.refusal("garbage")[0] == 4403
    assert "expired" in bench.refusal(bench.token(life=-5))[1]
    assert "not signed by this cloud" in bench.refusal(stranger)[1]
    assert "for template, not for console" in bench.refusal(template)[1]
    assert "no host" in bench.refusal(bench.token(host=str(uuid4())))[1]
    code, reason = bench.refusal(bench.token(STOPPED_VM))
    assert code == 4502
    assert f"VM {STOPPED_VM} does not run here" in reason


def test_nothing_but_the_page_and_novnc_is_served(bench: Bench) -> None:
    with bench.browser.entered(), httpx.Client(verify=False, base_url=f"https://{ADDRESS}") as client:  # noqa: S501
        page = client.get("/console.html")
        assert page.status_code == 200
        assert "script-src 'self'" in page.headers["content-security-policy"]
        assert client.get("/").text == page.text
        assert client.get("/novnc/core/rfb.js").status_code == 200
        for path in ("/novnc/", "/novnc/../secret", "/novnc/%2e%2e/secret", "/handler.py", "/..%2fproxy.py"):
            assert client.get(path).status_code == 404, path
        assert client.post("/console.html").status_code == 501


def test_plain_http_and_old_tls_are_refused(bench: Bench) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with bench.browser.entered():
        with (
            pytest.raises(OSError, match="alert protocol version"),
            socket.create_connection((ADDRESS, PORT), timeout=5) as plain,
        ):
            context.wrap_socket(plain)
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://{ADDRESS}:{PORT}/console.html")


def test_the_proxy_has_no_rights_and_its_log_no_tickets(bench: Bench) -> None:
    token = bench.token()
    with bench.connected(token) as opened:
        shake_hands(opened)
    query = bench.token()
    with bench.browser.entered(), httpx.Client(verify=False) as client:  # noqa: S501
        client.get(f"https://{ADDRESS}/console.html?ticket={query}")
    with bench.console.machine.entered():
        pid = bench.console.doors.daemons.pid("console")
        said = "\n".join(bench.console.doors.daemons.logs("console", 1000))
    status = Path(f"/proc/{pid}/status").read_text()
    assert [line.split()[1:] for line in status.splitlines() if line.startswith("Uid:")] == [["65534"] * 4]
    assert f"console of {VM} opened by 198.51.100.9" in said
    for secret in (token, query):
        assert secret.split(".")[0] not in said
        assert secret.split(".")[1] not in said


def test_a_new_document_is_taken_over_without_closing_consoles(bench: Bench) -> None:
    with bench.connected(bench.token()) as opened:
        shake_hands(opened)
        new = bench.servers.issue("console.pileus.internal")
        changed = with_console(bench.state, certificate=new.certificate, key=new.key, hosts=())
        bench.console.put(changed)
        eventually(lambda: not bench.console.unhealthy(changed), "the new certificate is shown", 5)
        opened.send_binary(struct.pack(">BBHHHH", 3, 0, 0, 0, 16, 16))
        assert opened.recv()
        assert "no host" in bench.refusal(bench.token())[1]
    bench.console.put(bench.state)
    eventually(lambda: not bench.console.unhealthy(bench.state), "the old one is back", 5)


def test_a_host_with_a_strangers_certificate_gets_no_ticket(bench: Bench) -> None:
    changed = with_console(bench.state, server_ca=Authority("strangers").pem)
    bench.console.put(changed)
    time.sleep(0.5)
    code, reason = bench.refusal(bench.token())
    assert code == 4502
    assert "is not who it should be" in reason
    bench.console.put(bench.state)
    eventually(lambda: not bench.console.unhealthy(bench.state), "the old one is back", 5)
