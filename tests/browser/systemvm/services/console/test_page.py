"""The console page in Chromium: a real screen through proxy, relay and VNC, a typed key, plain refusals."""

import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, Page, expect

from systemvm.services.console.settings import files_of
from systemvm.spec.appliances import Console, HostEndpoint
from systemvm.spec.ticket import TicketPurpose
from tests.pki import Authority
from tests.tickets import Signer
from tests.vnc import Relay, firmware_screen, relay_context

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[5]
VM, HOST, HOST_NAME = str(uuid4()), str(uuid4()), "host-1.pileus.internal"

#: How many of the canvas's pixels are not black.
LIT_PIXELS = """() => {
  const canvas = document.querySelector("#screen canvas");
  if (!canvas || !canvas.width) return 0;
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let lit = 0;
  for (let i = 0; i < data.length; i += 4) if (data[i] + data[i + 1] + data[i + 2] > 60) lit++;
  return lit;
}"""


@dataclass
class Bench:
    port: int
    signer: Signer

    def address(self, *, life: float = 60) -> str:
        token = self.signer.token(TicketPurpose.console, VM, host=HOST, life=life)
        return f"https://127.0.0.1:{self.port}/console.html#{token}"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, novnc: Path) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("c")
    servers, clients, signer = Authority("servers"), Authority("clients"), Signer()
    listener = socket.create_server(("127.0.0.1", 0))
    context = relay_context(*servers.issue(HOST_NAME).write(folder, "relay"), clients.pem)
    with firmware_screen(folder) as screen:
        relay = Relay(listener, context, signer.public, {VM: screen})
        port = free_port()
        settings = console(servers, clients, signer, port, listener.getsockname()[1])
        for name, text in files_of(settings).items():
            (folder / name).write_text(text)
        proxy = subprocess.Popen(
            (
                *(sys.executable, "-m", "systemvm.services.console.proxy", f"--listen=127.0.0.1:{port}"),
                *(f"--folder={folder}", f"--run={folder}", f"--novnc={novnc}"),
            ),
            cwd=ROOT,
        )
        wait_for(port)
        yield Bench(port, signer)
        proxy.terminate()
        proxy.wait()
    relay.close()


def console(servers: Authority, clients: Authority, signer: Signer, port: int, relay_port: int) -> Console:
    server, client = servers.issue("console.pileus.internal"), clients.issue("console.pileus.internal")
    return Console(
        address="127.0.0.1",
        port=port,
        certificate=server.certificate,
        key=server.key,
        ticket_key=signer.public,
        client_certificate=client.certificate,
        client_key=client.key,
        server_ca=servers.pem,
        hosts=(HostEndpoint(host=HOST, name=HOST_NAME, address="127.0.0.1", port=relay_port),),
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            assert time.monotonic() < deadline, "the proxy does not listen"
            time.sleep(0.05)


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context(ignore_https_errors=True, viewport={"width": 1024, "height": 768})
    opened = context.new_page()
    yield opened
    context.close()


def wait_for_lit(page: Page, least: int) -> int:
    """Polled from here: the page's own policy forbids what Playwright's waiting would evaluate in it."""
    deadline = time.monotonic() + 20
    while (lit := int(page.evaluate(LIT_PIXELS))) <= least:
        assert time.monotonic() < deadline, f"only {lit} pixels are lit"
        time.sleep(0.1)
    return lit


def test_the_screen_is_seen_and_a_typed_key_changes_it(bench: Bench, page: Page) -> None:
    page.goto(bench.address())
    expect(page.locator("body")).to_have_attribute("data-state", "open", timeout=20_000)
    before = wait_for_lit(page, 200)
    # The firmware waits for Escape, and shows its boot menu then.
    page.keyboard.press("Escape")
    wait_for_lit(page, int(before * 1.2))
    assert page.evaluate("location.hash") == "", "the ticket stays in the address bar"
    assert page.locator("#ctrl-alt-del").is_enabled()


def test_a_used_ticket_says_so(bench: Bench, page: Page) -> None:
    address = bench.address()
    page.goto(address)
    expect(page.locator("body")).to_have_attribute("data-state", "open", timeout=20_000)
    again = page.context.new_page()
    again.goto(address)
    expect(again.locator("#status")).to_contain_text("used before", timeout=20_000)


def test_an_expired_ticket_and_none_say_so(bench: Bench, page: Page) -> None:
    page.goto(bench.address(life=-5))
    expect(page.locator("#status")).to_contain_text("expired", timeout=20_000)
    expect(page.locator("body")).to_have_attribute("data-state", "closed")
    page.goto("about:blank")
    page.goto(f"https://127.0.0.1:{bench.port}/")
    expect(page.locator("#status")).to_contain_text("no ticket in this address", timeout=20_000)


def test_the_page_asks_nobody_else_and_breaks_no_policy(bench: Bench, page: Page) -> None:
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    address = bench.address()
    page.goto(address)
    expect(page.locator("body")).to_have_attribute("data-state", "open", timeout=20_000)
    assert {url.split("/")[2] for url in asked if not url.startswith("data:")} == {f"127.0.0.1:{bench.port}"}
    assert not [url for url in asked if "ticket" in url]
    assert not [line for line in said if "Content Security Policy" in line or "Error" in line], said


def test_tls_is_1_3(bench: Bench) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", bench.port)) as plain,
        context.wrap_socket(plain) as connection,
    ):
        assert connection.version() == "TLSv1.3"
